"""The frames of a stream: a binary message each, which becomes a crop for the network once and when it is wanted."""

from __future__ import annotations

import asyncio
import functools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from engines.clip import FrameKey, PixelFormat
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_frame
from server.clips.decode_jobs import Steps
from server.clips.decode_threads import DecodeThreads
from server.clips.images import ImageError, ImageKind, decode_image, decode_seconds, image_kind, image_size
from server.clips.infer_request import MAX_SIDE_PIXELS
from server.clips.lease import Lease
from server.clips.upload import Memory
from server.errors import InvalidError, TooLargeError, UnreadableError
from server.streams.movement import Cells, cells_of
from server.streams.pictures import Pictures

FRAME_VERSION = 1
# Little-endian: version, time in seconds, width and height in pixels (0 x 0: an encoded image follows).
FRAME_HEADER = struct.Struct("<IdII")
# Beyond this, seconds as float64 no longer tell frames apart.
_LATEST_S = 1e12

Crop = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReadyFrame:
    """A frame as the network takes it, BGR uint8 [crop, crop, 3], and its ``cells`` if somebody asks what moves.

    ``key``: by which engines know the frame again in other windows.
    """

    crop: Crop
    cells: Cells | None
    key: FrameKey = field(default_factory=FrameKey)


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """A frame as sent: its time by the sender, height and width, and the kind of the image, None for packed pixels."""

    time_s: float
    size: tuple[int, int]
    kind: ImageKind | None
    data: bytes | memoryview


def parse_frame(message: bytes, max_pixel_bytes: int) -> FrameMessage:
    """Read the header, and that of an image.

    Raises:
        InvalidError: the header, or the number of bytes after it, is wrong.
        UnreadableError: the image is damaged.
        TooLargeError: the pixels would take more than ``max_pixel_bytes``.
    """
    if len(message) <= FRAME_HEADER.size:
        raise InvalidError(f"a frame has {len(message)} bytes; its header alone has {FRAME_HEADER.size}")
    version, time_s, width, height = FRAME_HEADER.unpack_from(message)
    if version != FRAME_VERSION:
        raise InvalidError(f"a frame has version {version}; accepted: {FRAME_VERSION}", field="version")
    if not math.isfinite(time_s) or abs(time_s) > _LATEST_S:
        raise InvalidError(f"the time of a frame is {time_s}; accepted: up to {_LATEST_S:.0e} seconds", field="time")
    packed = width > 0 or height > 0
    frame = _packed(message, time_s, height, width) if packed else _image(message[FRAME_HEADER.size :], time_s)
    if (pixel_bytes := 3 * frame.size[0] * frame.size[1]) > max_pixel_bytes:
        raise TooLargeError(
            f"a frame of {frame.size[1]} x {frame.size[0]} pixels has {pixel_bytes} bytes; accepted: at most"
            f" {max_pixel_bytes}"
        )
    return frame


def time_of(message: bytes) -> float | None:
    """The time in the header of a frame that may be refused; None if there is none."""
    time_s = FRAME_HEADER.unpack_from(message)[1] if len(message) >= FRAME_HEADER.size else math.nan
    return time_s if math.isfinite(time_s) else None


def _packed(message: bytes, time_s: float, height: int, width: int) -> FrameMessage:
    if not (1 <= width <= MAX_SIDE_PIXELS and 1 <= height <= MAX_SIDE_PIXELS):
        raise InvalidError(
            f"a frame is {width} x {height} pixels; accepted: 1 to {MAX_SIDE_PIXELS} a side, or 0 x 0 for an image",
            field="width",
        )
    data = memoryview(message)[FRAME_HEADER.size :]
    if len(data) != 3 * width * height:
        raise InvalidError(
            f"a frame of {width} x {height} pixels has {3 * width * height} bytes, but {len(data)} came", field="width"
        )
    return FrameMessage(time_s, (height, width), None, data)


def _image(data: bytes, time_s: float) -> FrameMessage:
    kind = image_kind(data)
    if kind is None:
        raise InvalidError("a frame of 0 x 0 pixels must be a JPEG, PNG or WebP image, and is none")
    try:
        return FrameMessage(time_s, image_size(data, kind), kind, data)
    except ImageError as error:
        raise UnreadableError(f"a frame is not a readable {kind}: {error}") from None


@dataclass(frozen=True, slots=True)
class Making:
    """How frames of a stream are made ready: the order of packed channels, for which network, and with their cells.

    ``pictures`` gets a picture of the frame.
    """

    pixel_format: PixelFormat
    preprocessing: Preprocessing
    with_cells: bool
    pictures: Pictures | None = None


def _making(frame: FrameMessage, how: Making, threads: DecodeThreads) -> Steps[ReadyFrame]:
    """The steps that make ``frame`` ready; one that takes long gives way to other work first."""
    made: list[ReadyFrame] = []

    def work(_: int) -> None:
        if frame.kind is not None:
            threads.expect(decode_seconds(bytes(frame.data), frame.kind, frame.size))
        crop = cropped(frame, how)
        made.append(ReadyFrame(crop, cells_of(crop) if how.with_cells else None))

    yield from threads.for_each(work, 1)
    return made[0]


def cropped(frame: FrameMessage, how: Making) -> Crop:
    """The frame as the network takes it: BGR uint8 [crop, crop, 3], contiguous; raises UnreadableError."""
    pixel_format: PixelFormat = how.pixel_format if frame.kind is None else "BGR"
    pixels = _pixels(frame)
    if how.pictures is not None:
        how.pictures.take(pixels, pixel_format)
    return _interleaved(crop_frame(pixels, how.preprocessing), pixel_format)


def _pixels(frame: FrameMessage) -> npt.NDArray[np.uint8]:
    if frame.kind is None:
        return np.frombuffer(frame.data, np.uint8).reshape(*frame.size, 3)
    pixels = np.empty((*frame.size, 3), np.uint8)
    try:
        decode_image(bytes(frame.data), frame.kind, pixels)
    except ImageError as error:
        raise UnreadableError(f"a frame is not a readable {frame.kind}: {error}") from None
    return pixels


def _interleaved(crop: Crop, pixel_format: PixelFormat) -> Crop:
    """``crop`` as BGR with its channels beside each other in memory, so that windows copy it fast.

    ``crop_frame`` keeps each channel together; to copy that costs 40 times as much, for each window of the frame.
    """
    planes = crop.transpose(2, 0, 1)
    return np.asarray(cv2.merge(list(planes if pixel_format == "BGR" else planes[::-1])), np.uint8)


class StreamFrame:
    """A frame that a window wants, or may want; it is decoded at most once.

    ``task`` decodes it, and ``reported`` says that the client knows of its error.

    Invariants: all attributes belong to the event loop. ``_message`` is None once ``task`` has ended. ``_held_bytes``
    are in ``memory`` until the frame is decoded or nothing refers to it any more.
    """

    def __init__(
        self, message: FrameMessage, memory: Memory, arrived_s: float, on_unused: Callable[[], None] = lambda: None
    ) -> None:
        """Hold the bytes of ``message``; raises OverloadedError.

        ``arrived_s``: by the event loop's clock. ``on_unused`` is called in the end if the frame was never decoded.
        """
        self.time_s = message.time_s
        self.arrived_s = arrived_s
        self._message: FrameMessage | None = message
        self._memory = memory
        self._on_unused = on_unused
        self._held_bytes = 0
        self.task: asyncio.Task[ReadyFrame] | None = None
        self.reported = False
        memory.add(len(message.data))
        self._held_bytes = len(message.data)

    def __del__(self) -> None:
        # A frame that no tick wanted, or whose windows were all skipped, is never decoded.
        if self._message is not None and self._held_bytes:
            self._memory.drop(self._held_bytes)
            self._on_unused()

    def start(self, how: Making, threads: DecodeThreads, lease: Lease) -> asyncio.Task[ReadyFrame]:
        """Begin to decode the frame, once; the task raises UnreadableError, or NotReadyError if all threads are stuck.

        ``lease`` is kept until the frame is decoded, even if the task is cancelled.
        """
        assert self._message is not None  # noqa: S101 frames are decoded once
        steps = functools.partial(_making, self._message, how, threads)
        self.task = asyncio.create_task(threads.run(steps, lease=lease), name="crop")
        self.task.add_done_callback(self._decoded)
        return self.task

    def _decoded(self, task: asyncio.Task[ReadyFrame]) -> None:
        self._message = None
        self._memory.drop(self._held_bytes)
        self._held_bytes = 0
        if task.cancelled():
            self._on_unused()
        else:
            task.exception()  # marks it as retrieved, because the windows of the frame may all be skipped
