"""What the unavoidable parts of a request cost alone, each on its own in this process: what no server gets around."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pybase64
import simplejpeg

from tests.latency.payloads import bgr_clip, jpegs
from tests.latency.tables import Table

_REPETITIONS = 31


def piece_table() -> Table:
    """Median milliseconds of each."""
    frames = bgr_clip()
    texts = [pybase64.b64encode(frame) for frame in frames]
    images = jpegs(frames)
    pixels = np.empty_like(frames)

    def decode_base64() -> None:
        for text, frame in zip(texts, pixels, strict=True):
            frame.reshape(-1)[:] = np.frombuffer(pybase64.b64decode(text, validate=True), np.uint8)

    def decode_jpegs() -> None:
        for image, frame in zip(images, pixels, strict=True):
            simplejpeg.decode_jpeg(image, colorspace="BGR", buffer=frame)

    pieces = {
        "copy the clip's pixels once (2.8 MB)": lambda: np.copyto(pixels, frames),
        "decode base64 of 16 frames, SIMD": decode_base64,
        "decode 16 JPEGs, one core": decode_jpegs,
    }
    rows = [(name, f"{_median_ms(work):.2f}") for name, work in pieces.items()]
    return Table("Parts of a request alone, without a server", ("", "ms"), rows)


def _median_ms(work: Callable[[], None]) -> float:
    times_ms = []
    for _ in range(_REPETITIONS):
        began_s = time.perf_counter()
        work()
        times_ms.append((time.perf_counter() - began_s) * 1e3)
    return statistics.median(times_ms)
