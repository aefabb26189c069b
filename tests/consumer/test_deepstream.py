"""The DeepStream backend against a stand-in for NVIDIA's SDK: what can be checked without its hardware.

The stand-in knows the SDK's classes, methods and element names as its documentation gives them, refuses everything
else, and decodes with PyAV what the pipeline was told to open.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import av
import numpy as np
import pytest

from consumer.errors import BackendMissingError, SourceSilentError, SourceStoppedError
from consumer.sources.deepstream import open_deepstream_video
from consumer.sources.ffmpeg import Link
from consumer.sources.source import parse_source
from tests.consumer.processes import consume
from tests.consumer.senders import FPS, SIZE, rtsp_server
from tests.consumer.videos import number_of
from video.picture import PictureMaker

# GStreamer's GST_CLOCK_TIME_NONE: RTP's first frames have no time stamp.
NO_TIME = 2**64 - 1

ELEMENTS = {
    "nvurisrcbin": {"uri", "select-rtp-protocol"},
    "nvstreammux": {"batch-size", "width", "height", "live-source"},
    "nvvideoconvert": {"nvbuf-memory-type"},
    "capsfilter": {"caps"},
    "appsink": {"emit-signals", "sync"},
}


class Tensor:
    """What ``Buffer.extract()`` gives: the SDK's surface, gone when the call is over, unless cloned."""

    def __init__(self, pixels: np.ndarray, cloned: bool) -> None:
        self.pixels, self.cloned = pixels, cloned

    def clone(self) -> Tensor:
        return Tensor(self.pixels.copy(), True)


class Buffer:
    def __init__(self, pixels: np.ndarray, timestamp: int) -> None:
        self.timestamp, self._pixels = timestamp, pixels

    def extract(self, batch_id: int) -> Tensor:
        assert batch_id == 0
        return Tensor(self._pixels, False)


class BufferRetriever:
    def consume(self, buffer: Buffer) -> int:
        raise NotImplementedError


class Receiver:
    def __init__(self, name: str, retriever: BufferRetriever) -> None:
        self.retriever = retriever


class Pipeline:
    """Decodes in a thread, as GStreamer does."""

    def __init__(self, name: str) -> None:
        self.elements: dict[str, dict[str, Any]] = {}
        self.links: list[Any] = []
        self._stopped = threading.Event()

    def add(self, element: str, name: str, properties: dict[str, Any]) -> Pipeline:
        assert set(properties) <= ELEMENTS[element]
        self.elements[name] = properties
        return self

    def link(self, *names: Any) -> Pipeline:
        self.links.append(names)
        return self

    def attach(self, name: str, receiver: Receiver, tips: str) -> Pipeline:
        assert (name, tips) == ("sink", "new-sample")
        self._receiver = receiver
        return self

    def start(self) -> Pipeline:
        assert self.links == [(("camera", "mux"), ("", "sink_%u")), ("mux", "converter", "caps", "sink")]
        assert self.elements["caps"]["caps"] == "video/x-raw(memory:NVMM), format=RGB"
        assert (self.elements["mux"]["width"], self.elements["mux"]["height"]) == SIZE
        self._thread = threading.Thread(target=self._decode, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> Pipeline:
        self._stopped.set()
        self._thread.join()
        return self

    def _decode(self) -> None:
        options = {"rtsp_transport": "tcp"}
        with av.open(self.elements["camera"]["uri"], options=options, timeout=5) as container:
            for frame in container.decode(video=0):
                if self._stopped.is_set():
                    return
                rgba = np.dstack([frame.to_ndarray(format="rgb24"), np.full(SIZE[::-1], 255, np.uint8)])
                nanoseconds = NO_TIME if frame.pts is None else int(frame.pts * frame.time_base * 10**9)
                self._receiver.retriever.consume(Buffer(rgba, nanoseconds))


def from_dlpack(tensor: Tensor) -> np.ndarray:
    assert tensor.cloned
    return tensor.pixels


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stand_in = {name: globals()[name] for name in ("Pipeline", "Receiver", "BufferRetriever")}
    for name, members in (("pyservicemaker", stand_in), ("cupy", {"from_dlpack": from_dlpack, "asnumpy": np.array})):
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return


@pytest.mark.usefixtures("sdk")
def test_frames_come_with_their_times() -> None:
    with rtsp_server() as camera:
        source, maker = parse_source(camera.url), PictureMaker(0)
        with open_deepstream_video(source, Link(), 1.0, threading.Event()) as video:
            placed = [(each.time_s, number_of(maker.make(each.frame))) for each in islice(video.frames(), 14)]
            # The first has no time stamp, and the second is where the clock says.
            frames = placed[2:]
    for (before_s, before), (after_s, after) in pairwise(frames):
        assert after > before
        assert after_s - before_s == pytest.approx((after - before) / FPS, abs=0.002)


@pytest.mark.usefixtures("sdk")
def test_silence_and_stopping_end_the_frames() -> None:
    stopped = threading.Event()
    with rtsp_server() as camera:
        source = parse_source(camera.url)
        with open_deepstream_video(source, Link(silence_s=2), 1.0, stopped) as video:
            frames = video.frames()
            next(frames)
            camera.silent.set()
            with pytest.raises(SourceSilentError):
                list(frames)
            stopped.set()
            with pytest.raises(SourceStoppedError):
                next(video.frames())


@pytest.mark.usefixtures("sdk")
def test_other_sources_are_rejected() -> None:
    with (
        pytest.raises(BackendMissingError, match=r"the deepstream backend cannot read a\.mp4; help: .*--backend pyav"),
        open_deepstream_video(parse_source("a.mp4"), Link(), 1.0, threading.Event()),
    ):
        pass


async def test_missing_sdk_fails_at_once() -> None:
    ended = await consume("rtsp://camera/1", "--backend", "deepstream")
    assert ended.code == 2
    (line,) = ended.errors
    assert "--backend deepstream needs pyservicemaker; help: run in NVIDIA's DeepStream container" in line
