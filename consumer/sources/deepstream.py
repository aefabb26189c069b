"""The DeepStream backend: RTSP streams decoded on the GPU by NVIDIA's SDK, through its ``pyservicemaker``.

Written to the SDK's documentation and never run on its hardware; the tests run it against a stand-in for the SDK.
"""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np

from consumer.errors import BackendMissingError, SourceSilentError, SourceStoppedError
from consumer.sources.ffmpeg import Link, frame_rate, opened
from consumer.sources.source import Kind, Source
from sampling.live_timeline import Clock, LiveTimeline
from sampling.timeline import Timed

NANOSECONDS = Fraction(1, 10**9)
# GStreamer's way to say that a frame has no time stamp is the largest number of 64 bits.
NO_TIME_NS = 2**63
SDK_MODULES = ("pyservicemaker", "cupy")

# nvbuf-memory-type: plain CUDA device memory, which DLPack can hand on.
CUDA_DEVICE_MEMORY = 2
# select-rtp-protocol of nvurisrcbin.
RTP_PROTOCOLS = {"tcp": 4, "udp": 1}

# Frames wait here for the sampling, which is faster than any camera.
HELD_FRAMES = 8


class DeepStreamVideo:
    """One connection to a camera; its frames come from an appsink as RGB pixels."""

    def __init__(self, source: Source, link: Link, timeline: LiveTimeline, stopped: threading.Event) -> None:
        self._source = source
        self._link = link
        self._timeline = timeline
        self._stopped = stopped
        self.arrived: queue.Queue[tuple[int, Any]] = queue.Queue(HELD_FRAMES)

    @property
    def ahead_s(self) -> float:
        """By how many seconds its frames so far lie later than they were seen."""
        return self._timeline.ahead_s

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """What comes; never ends but by raising SourceError."""
        while not self._stopped.is_set():
            try:
                pts_ns, pixels = self.arrived.get(timeout=self._link.silence_s)
            except queue.Empty:
                raise SourceSilentError(self._source.name, self._link.silence_s) from None
            time_s, duration_s, starts = self._timeline.place(None if pts_ns >= NO_TIME_NS else pts_ns)
            yield Timed(time_s, duration_s, av.VideoFrame.from_ndarray(pixels, "rgb24"), starts)
        raise SourceStoppedError(self._source.name)


@contextmanager
def open_deepstream_video(
    source: Source, link: Link, max_gap_s: float, stopped: threading.Event
) -> Iterator[DeepStreamVideo]:
    """Connect to a camera; raises BackendMissingError, and what PyAV raises of a source that it cannot open."""
    sdk, cupy = import_sdk(source)
    # The multiplexer scales to a size that has to be known before: to the camera's own.
    with opened(source, link) as (_, stream):
        width, height, interval_s = stream.width, stream.height, float(1 / frame_rate(stream))
    timeline = LiveTimeline(NANOSECONDS, interval_s, max_gap_s, None, Clock())
    video = DeepStreamVideo(source, link, timeline, stopped)
    pipeline = _pipeline(sdk, source, link, (width, height))
    pipeline.attach("sink", sdk.Receiver("receiver", _retriever(sdk, cupy, video.arrived)), tips="new-sample")
    pipeline.start()
    try:
        yield video
    finally:
        pipeline.stop()


def import_sdk(source: Source) -> tuple[Any, Any]:
    """``pyservicemaker`` and ``cupy``; raises BackendMissingError where ``source`` cannot be read with them."""
    if source.kind is not Kind.RTSP:
        raise BackendMissingError(f"deepstream does not read {source.name}", "use it for rtsp://, or --backend pyav")
    try:
        sdk, cupy = (importlib.import_module(name) for name in SDK_MODULES)
    except ImportError as error:
        cure = "run in NVIDIA's DeepStream container with cupy installed, or use --backend pyav"
        raise BackendMissingError(f"--backend deepstream needs {error.name}", cure) from error
    return sdk, cupy


def _pipeline(sdk: Any, source: Source, link: Link, size: tuple[int, int]) -> Any:
    width, height = size
    camera = {"uri": source.location, "select-rtp-protocol": RTP_PROTOCOLS[link.transport]}
    batches = {"batch-size": 1, "width": width, "height": height, "live-source": 1}
    pipeline = sdk.Pipeline("consumer")
    pipeline.add("nvurisrcbin", "camera", camera)
    pipeline.add("nvstreammux", "mux", batches)
    pipeline.add("nvvideoconvert", "converter", {"nvbuf-memory-type": CUDA_DEVICE_MEMORY})
    pipeline.add("capsfilter", "caps", {"caps": "video/x-raw(memory:NVMM), format=RGB"})
    pipeline.add("appsink", "sink", {"emit-signals": True, "sync": False})
    pipeline.link(("camera", "mux"), ("", "sink_%u"))
    pipeline.link("mux", "converter", "caps", "sink")
    return pipeline


def _retriever(sdk: Any, cupy: Any, arrived: queue.Queue[tuple[int, Any]]) -> Any:
    class Retriever(sdk.BufferRetriever):  # type: ignore[misc]
        def consume(self, buffer: Any) -> int:
            # Cloned: the SDK takes the surface back when this returns.
            pixels = cupy.asnumpy(cupy.from_dlpack(buffer.extract(0).clone()))
            try:
                arrived.put_nowait((buffer.timestamp, np.ascontiguousarray(pixels[..., :3])))
            except queue.Full:
                return 0
            return 1

    return Retriever()
