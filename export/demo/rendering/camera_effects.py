"""Effects of a camera and a codec on frames: exposure, colour, flicker, blur, grain and compression."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]


def _gains(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Return the brightness of each frame relative to the clip [T]: steady, drifting or flickering."""
    times = np.linspace(0.0, 1.0, count)
    drift = 1 + rng.normal(0.0, 0.1) * (times - 0.5) * (rng.random() < 0.4)
    flicker = rng.normal(0.0, rng.uniform(0.0, 0.05), count) * (rng.random() < 0.4)
    return np.asarray(drift + flicker)


def _tone_curve(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the output level of each of 256 input levels for each channel [256, 3]."""
    levels = np.linspace(0.0, 1.0, 256)[:, None]
    gamma = np.exp(rng.normal(0.0, 0.2)) * np.exp(rng.normal(0.0, 0.06, 3))
    low, high = rng.uniform(0.0, 0.12), rng.uniform(0.8, 1.15)
    return np.asarray((low + (high - low) * levels**gamma) * 255.0)


def expose(rng: np.random.Generator, frames: Frames) -> Frames:
    """Apply one tone curve to uint8 frames [T, H, W, 3], and a gain to each frame."""
    curve = _tone_curve(rng)
    gains = _gains(rng, len(frames))
    tables = np.rint(np.clip(gains[:, None, None] * curve, 0, 255)).astype(np.uint8)
    return np.stack([cv2.LUT(frame, table[:, None, :]) for frame, table in zip(frames, tables, strict=True)])


def soften(rng: np.random.Generator, frame: Frames, strength: float) -> Frames:
    """Blur the frame with a standard deviation of ``strength`` thousandths of the short edge."""
    deviation = strength * 1e-3 * min(frame.shape[:2])
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), max(deviation, 0.2)), np.uint8)


def grain(rng: np.random.Generator, frame: Frames, deviation: float) -> Frames:
    """Add noise of ``deviation`` levels; the noise has at most 256 x 256 cells, so large frames get coarser grain."""
    height, width = frame.shape[:2]
    noise = rng.standard_normal((min(height, 256), min(width, 256), 3), dtype=np.float32) * np.float32(deviation)
    enlarged = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.add(frame, enlarged, dtype=cv2.CV_8U), np.uint8)


def compress(frame: Frames, quality: int) -> Frames:
    """Encode the frame as JPEG of ``quality`` 1 to 100 and decode it again."""
    encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def record(rng: np.random.Generator, frames: Frames) -> Frames:
    """Return frames uint8 [T, H, W, 3] as a random camera and codec would deliver them."""
    recorded = expose(rng, frames) if rng.random() < 0.8 else frames
    if rng.random() < 0.3:
        strength = rng.uniform(1.0, 9.0)
        recorded = np.stack([soften(rng, frame, strength) for frame in recorded])
    if rng.random() < 0.35:
        deviation = rng.uniform(1.0, 12.0)
        recorded = np.stack([grain(rng, frame, deviation) for frame in recorded])
    if rng.random() < 0.6:
        quality = int(rng.integers(20, 96))
        recorded = np.stack([compress(frame, quality) for frame in recorded])
    return recorded
