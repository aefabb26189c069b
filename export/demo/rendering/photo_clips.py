"""Test clips made from photographs: pieces of photographs that move over other photographs or real videos.

They serve for evaluation only. They share nothing with the renderer of the training clips except the label strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from export.demo import labels
from export.demo.rendering.clips import Clip

Image = npt.NDArray[np.uint8]

FRAMES = 16
_PICTURES, _VIDEOS = {".jpg", ".jpeg", ".png"}, {".mp4", ".avi", ".mov", ".webm"}
_LONGEST_VIDEO = 300
# The direction in which the object or the scene moves in the frame: x to the right, y down.
_OBJECT_DIRECTIONS = {
    labels.PUSH_RIGHT: (1, 0),
    labels.PUSH_LEFT: (-1, 0),
    labels.MOVE_UP: (0, -1),
    labels.MOVE_DOWN: (0, 1),
}
_SCENE_DIRECTIONS = {
    labels.TURN_LEFT: (1, 0),
    labels.TURN_RIGHT: (-1, 0),
    labels.TURN_UP: (0, 1),
    labels.TURN_DOWN: (0, -1),
}


@dataclass(frozen=True)
class Variant:
    """A kind of clip: height and width in pixels, range of the object's share of the short edge, and background."""

    name: str
    size: tuple[int, int]
    share: tuple[float, float]
    video: bool


VARIANTS = tuple(
    Variant(f"{height}x{width}, {kind} object over {'video' if video else 'photograph'}", (height, width), share, video)
    for height, width in ((240, 240), (480, 640), (720, 1280))
    for kind, share in (("small", (0.15, 0.3)), ("large", (0.3, 0.6)))
    for video in (False, True)
)


@dataclass(frozen=True)
class Photos:
    """Photographs as uint8 RGB [H, W, 3], and videos as lists of such frames."""

    pictures: list[Image]
    videos: list[list[Image]]


def _frames_of(path: Path) -> list[Image]:
    capture = cv2.VideoCapture(str(path))
    frames: list[Image] = []
    while len(frames) < _LONGEST_VIDEO and (read := capture.read())[0]:
        frames.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8))
    return frames


def load_photos(directory: Path) -> Photos:
    """Load all photographs and videos below ``directory``; raises ValueError without one readable file of each kind."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    pictures = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths if path.suffix.lower() in _PICTURES]
    videos = [_frames_of(path) for path in paths if path.suffix.lower() in _VIDEOS]
    readable = [np.asarray(picture, np.uint8) for picture in pictures if picture is not None]
    long_enough = [video for video in videos if len(video) >= FRAMES]
    if not readable or not long_enough:
        raise ValueError(f"{directory} needs at least one photograph and one video of {FRAMES} frames or more")
    return Photos(readable, long_enough)


def _cover(image: Image, height: int, width: int, where: tuple[float, float]) -> Image:
    """Scale ``image`` to cover height x width and crop it at the relative position ``where`` in [0, 1] x [0, 1]."""
    scale = max(height / image.shape[0], width / image.shape[1])
    tall, wide = max(height, round(image.shape[0] * scale)), max(width, round(image.shape[1] * scale))
    scaled = cv2.resize(image, (wide, tall), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = int(where[0] * (tall - height)), int(where[1] * (wide - width))
    return np.asarray(scaled[top : top + height, left : left + width], np.uint8)


def _scenery(rng: np.random.Generator, photos: Photos, height: int, width: int, video: bool) -> list[Image]:
    """Return 16 backgrounds of height x width: one photograph, or frames of a video at a random speed."""
    where = (rng.random(), rng.random())
    if not video:
        picture = photos.pictures[rng.integers(len(photos.pictures))]
        return [_cover(picture, height, width, where)] * FRAMES
    frames = photos.videos[rng.integers(len(photos.videos))]
    stride = int(rng.integers(1, max(2, min(4, len(frames) // FRAMES) + 1)))
    first = int(rng.integers(0, len(frames) - stride * (FRAMES - 1)))
    return [_cover(frames[first + stride * index], height, width, where) for index in range(FRAMES)]


def _cutting(rng: np.random.Generator, photos: Photos) -> tuple[Image, npt.NDArray[np.float32]]:
    """Return a square piece of a photograph [S, S, 3] and the mask [S, S, 1] of its outline."""
    picture = photos.pictures[rng.integers(len(photos.pictures))]
    side = int(rng.uniform(0.25, 0.8) * min(picture.shape[:2]))
    top, left = (int(rng.integers(0, extent - side)) for extent in picture.shape[:2])
    mask = np.zeros((side, side), np.uint8)
    kind = rng.choice(["ellipse", "box", "hull", "splash"])
    if kind == "ellipse":
        axes = (round(0.48 * side), round(rng.uniform(0.25, 0.48) * side))
        cv2.ellipse(mask, (side // 2, side // 2), axes, rng.uniform(0, 180), 0, 360, 255, -1)
    elif kind == "box":
        margin = int(rng.uniform(0.02, 0.25) * side)
        mask[margin : side - margin, side // 20 : side - side // 20] = 255
    elif kind == "hull":
        points = rng.uniform(0.03, 0.97, (12, 2)) * side
        cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 255)
    else:
        noise = cv2.GaussianBlur(rng.random((side, side)), (0, 0), side / 9)
        rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        mask[(noise - noise.mean()) / noise.std() > 2.2 * np.hypot(rows, columns) - 1.2] = 255
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.01 * side)).astype(np.float32) / np.float32(255.0)
    return picture[top : top + side, left : left + side], soft[..., None]


def _place(
    frame: Image, cutting: tuple[Image, npt.NDArray[np.float32]], centre: npt.NDArray[np.float64], side: int
) -> Image:
    """Return a copy of ``frame`` with the cutting, ``side`` pixels wide, centred on ``centre`` (x, y) in pixels."""
    side = max(side, 4)
    colour = cv2.resize(cutting[0], (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    mask = cv2.resize(cutting[1], (side, side), interpolation=cv2.INTER_AREA)[..., None]
    left, top = np.rint(centre - side / 2).astype(int)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, frame.shape[1]), min(top + side, frame.shape[0])
    if x0 >= x1 or y0 >= y1:
        return frame
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    covered = frame[y0:y1, x0:x1].astype(np.float32)
    covered += mask[inside] * (colour[inside] - covered)
    pasted = frame.copy()
    pasted[y0:y1, x0:x1] = np.rint(covered)
    return pasted


def _timing(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return times from 0 to 1 for the frames, at constant speed or eased at both ends."""
    times = np.linspace(0.0, 1.0, FRAMES)
    return times if rng.random() < 0.5 else (1 - np.cos(np.pi * times)) / 2


class _Director:
    """Makes the frames of one clip."""

    def __init__(self, rng: np.random.Generator, photos: Photos, variant: Variant) -> None:
        self._rng, self._photos, self._variant = rng, photos, variant
        self._height, self._width = variant.size
        self._short = min(variant.size)
        self._middle = np.array([self._width, self._height]) / 2
        self._times = _timing(rng)
        self._side = rng.uniform(*variant.share) * self._short
        self._cutting = _cutting(rng, photos)

    def _behind(self, height: int, width: int) -> list[Image]:
        return _scenery(self._rng, self._photos, height, width, self._variant.video)

    def move(self, direction: tuple[int, int]) -> list[Image]:
        """Move the object across part or all of the frame."""
        reach = self._rng.uniform(0.3, 0.95) * (self._width if direction[0] else self._height)
        along = np.array(direction)
        offset = self._rng.uniform(-0.2, 0.2) * self._short * along[::-1]
        start = self._middle + offset + self._rng.uniform(-0.1, 0.1) * self._short * along - along * reach / 2
        behind = self._behind(self._height, self._width)
        return [
            _place(image, self._cutting, start + along * reach * time, round(self._side))
            for image, time in zip(behind, self._times, strict=True)
        ]

    def turn(self, direction: tuple[int, int]) -> list[Image]:
        """Pan a window over a larger scene; half of the clips have an object in the scene."""
        reach = round(self._rng.uniform(0.3, 1.0) * (self._width if direction[0] else self._height))
        tall, wide = self._height + reach * abs(direction[1]), self._width + reach * abs(direction[0])
        behind = self._behind(tall, wide)
        if self._rng.random() < 0.5:
            spot = np.array([wide, tall]) * self._rng.uniform(0.3, 0.7, 2)
            behind = [_place(image, self._cutting, spot, round(self._side)) for image in behind]
        frames = []
        for image, time in zip(behind, self._times, strict=True):
            passed = 1 - time if sum(direction) > 0 else time
            left, top = round(passed * reach) * abs(direction[0]), round(passed * reach) * abs(direction[1])
            frames.append(image[top : top + self._height, left : left + self._width])
        return frames

    def approach(self) -> list[Image]:
        """Let the object grow, the scene, or both."""
        kind = self._rng.choice(["object", "scene", "both"])
        ratio = self._rng.uniform(1.6, 3.0)
        growth = 1 + (ratio - 1) * self._times
        spot = self._middle + self._rng.uniform(-0.12, 0.12, 2) * self._short
        frames = []
        for image, factor in zip(self._behind(self._height, self._width), growth, strict=True):
            if kind != "object":
                zoomed = cv2.getRotationMatrix2D((self._middle[0], self._middle[1]), 0.0, float(factor))
                image = np.asarray(cv2.warpAffine(image, zoomed, (self._width, self._height)), np.uint8)
            if kind != "scene":
                image = _place(image, self._cutting, spot, round(self._side * factor * (1.4 / ratio)))
            frames.append(image)
        return frames

    def hold(self) -> list[Image]:
        """Let the object shake around one position."""
        spot = self._middle + self._rng.uniform(-0.2, 0.2, 2) * self._short
        shaking = np.cumsum(self._rng.normal(0.0, 0.003, (FRAMES, 2)), axis=0) + self._rng.normal(
            0.0, 0.004, (FRAMES, 2)
        )
        return [
            _place(image, self._cutting, spot + shake * self._short, round(self._side))
            for image, shake in zip(self._behind(self._height, self._width), shaking, strict=True)
        ]

    def film(self, label: str) -> list[Image]:
        if label in _OBJECT_DIRECTIONS:
            return self.move(_OBJECT_DIRECTIONS[label])
        if label in _SCENE_DIRECTIONS:
            return self.turn(_SCENE_DIRECTIONS[label])
        if label == labels.HOLD:
            return self.hold()
        return self.approach() if label == labels.APPROACH else self.approach()[::-1]


def _worn(rng: np.random.Generator, frame: Image) -> Image:
    """Return the frame with a little blur, another brightness and lossy compression."""
    lit = cv2.convertScaleAbs(frame, alpha=rng.uniform(0.95, 1.05))
    encoded = cv2.imencode(".jpg", cv2.GaussianBlur(lit, (3, 3), 0), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def photo_clip(rng: np.random.Generator, photos: Photos, label: str, variant: Variant) -> Clip:
    """Make a clip, uint8 RGB [16, H, W, 3], that shows ``label`` in the given ``variant``."""
    frames = _Director(rng, photos, variant).film(label)
    return Clip(np.stack([_worn(rng, frame) for frame in frames]), label)
