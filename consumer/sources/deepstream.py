"""The DeepStream backend: RTSP streams decoded on the GPU by NVIDIA's SDK, through its ``pyservicemaker``.

It follows the SDK's documentation but has not been run on real hardware; the tests use a fake SDK.
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
from consumer.sources.ffmpeg import Link, open_live_container
from consumer.sources.source import Kind, Source
from sampling.live_timeline import Clock, LiveTimeline
from sampling.timeline import Timed
from video.streams import frame_rate

NANOSECONDS = Fraction(1, 10**9)
# GStreamer marks a frame without a time stamp with 2**64 - 1.
NO_TIME_NS = 2**63
SDK_MODULES = ("pyservicemaker", "cupy")

# nvbuf-memory-type: plain CUDA device memory, which DLPack can share.
CUDA_DEVICE_MEMORY = 2
# select-rtp-protocol of nvurisrcbin.
RTP_PROTOCOLS = {"tcp": 4, "udp": 1}

# Frames that may wait for the sampling, which is faster than any camera.
MAX_WAITING_FRAMES = 8


class DeepStreamVideo:
    """One connection to a camera; an appsink delivers its frames as RGB pixels."""

    def __init__(self, source: Source, link: Link, timeline: LiveTimeline, stopped: threading.Event) -> None:
        self._source = source
        self._link = link
        self._timeline = timeline
        self._stopped = stopped
        self.arrived: queue.Queue[tuple[int, Any]] = queue.Queue(MAX_WAITING_FRAMES)

    @property
    def ahead_s(self) -> float:
        """By how many seconds the times of the frames so far are too late; see LiveTimeline."""
        return self._timeline.ahead_s

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Yield the frames as they arrive; ends only by raising SourceError."""
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
    """Connect to a camera; raises BackendMissingError and the errors of ``open_live_container``."""
    sdk, cupy = import_sdk(source)
    # The multiplexer scales to a configured size, so the camera's own size has to be known first.
    with open_live_container(source, link) as (_, stream):
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
    """Import ``pyservicemaker`` and ``cupy``; raises BackendMissingError if they cannot read ``source``."""
    if source.kind is not Kind.RTSP:
        raise BackendMissingError(
            f"the deepstream backend cannot read {source.name}", "use it for rtsp:// only, or use --backend pyav"
        )
    try:
        sdk, cupy = (importlib.import_module(name) for name in SDK_MODULES)
    except ImportError as error:
        hint = "run in NVIDIA's DeepStream container with cupy installed, or use --backend pyav"
        raise BackendMissingError(f"--backend deepstream needs {error.name}", hint) from error
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
            # Cloned, because the SDK reuses the surface after this call.
            pixels = cupy.asnumpy(cupy.from_dlpack(buffer.extract(0).clone()))
            try:
                arrived.put_nowait((buffer.timestamp, np.ascontiguousarray(pixels[..., :3])))
            except queue.Full:
                return 0
            return 1

    return Retriever()
