"""A lane takes one batch at a time through the device: copy frames, preprocess, run the network, copy the answers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from engines.clip import Clip, PixelFormat
from engines.device.capture_gate import CAPTURES
from engines.device.cuda_graphs import CapturedRuns, CudaRecorder, GraphSwitch
from engines.device.frame_ring import LaneFrames
from engines.device.timeline import Turn, timeline
from engines.engine import Inference, no_probabilities
from engines.manifest import Manifest
from engines.options import Graphs
from engines.preprocessing.choice import FramePreprocessor

_STARTED, _COPIED, _PREPARED, _TURN, _FINISHED = range(5)
DTYPES = {"float32": torch.float32, "float16": torch.float16}
# Graphs of preprocessing that are kept: one for each frame size and number of equal clips.
_MOST_PREPARATIONS = 32


class DeviceNetwork(Protocol):
    """The compiled network; each lane has its own."""

    def run(self, pixels: torch.Tensor, outputs: Sequence[torch.Tensor]) -> None:
        """Queue work on the current stream that fills ``outputs`` from ``pixels`` [N, T, 3, ...].

        ``outputs``: float32, one for each of the manifest's: probabilities [N, labels], features [N, F].
        """
        ...


class _Kind(NamedTuple):
    """What clips have in common that are preprocessed together."""

    shape: tuple[int, ...]
    pixel_format: PixelFormat
    cropped: bool

    @classmethod
    def of(cls, clip: Clip) -> _Kind:
        return cls(clip.frames.shape, clip.pixel_format, clip.cropped)


class LaneGraphs:
    """Which work all lanes launch as CUDA graphs; a switch turns off when one graph of its kind fails."""

    def __init__(self, device: torch.device, graphs: Graphs) -> None:
        self.preparation, self.network = GraphSwitch("preprocessing"), GraphSwitch("network")
        self.preparation.is_on = device.type == "cuda" and graphs == "whole"
        self.network.is_on = device.type == "cuda" and graphs != "none"


class Lane:
    """Owns buffers and a stream; lanes share the turn, the graph switches, the preprocessor and, if safe, the network.

    Invariant: one thread at a time calls ``infer``, and it returns only after the device has finished the batch. So the
    buffers are free for the next batch, and CUDA graphs may keep their addresses.
    """

    def __init__(
        self,
        network: DeviceNetwork,
        manifest: Manifest,
        device: torch.device,
        max_clip_bytes: int,
        turn: Turn,
        graphs: LaneGraphs,
        preprocess: FramePreprocessor,
        frames: LaneFrames,
    ) -> None:
        self._network, self._device, self._turn, self._preprocess = network, device, turn, preprocess
        self._frames = frames
        dtype, most = DTYPES[manifest.network_input.dtype], manifest.max_batch
        self._staging = torch.empty(max_clip_bytes if device.type == "cuda" else 0, dtype=torch.uint8, device=device)
        self._pixels = torch.zeros((most, *manifest.network_input.clip_shape), dtype=dtype, device=device)
        self._manifest = manifest
        self._outputs = [torch.zeros((most, *output.clip_shape), device=device) for output in manifest.outputs]
        self._answers = [torch.zeros(output.shape, pin_memory=device.type == "cuda") for output in self._outputs]
        # Other lanes may drop tables from the cache while the device still reads them for this one.
        self._tables_in_use: list[Any] = []
        self._timeline = timeline(device, 5)
        self._preparations = CapturedRuns(CudaRecorder(), graphs.preparation, _MOST_PREPARATIONS)
        # Every batch size has its graph, so that none is captured again while clips wait.
        self._batches = CapturedRuns(CudaRecorder(), graphs.network, most)

    def reserve(self) -> None:
        """Allocate the memory that the largest batch needs; torch then keeps it cached for this lane's stream.

        Graphs allocate from pools of their own. That of preprocessing is filled here, that of the network at warm-up,
        which captures every batch size.
        """
        with torch.inference_mode(), self._timeline.working(), self._turn.taken(self._timeline, _FINISHED):
            if self._preprocess.workspace_bytes:
                self._fill_workspace()
                self._preparations.reserve(self._fill_workspace)
            self._run_network(len(self._pixels))
            self._timeline.mark(_FINISHED)
        self._timeline.wait(_FINISHED)

    def _fill_workspace(self) -> None:
        torch.zeros(self._preprocess.workspace_bytes, dtype=torch.uint8, device=self._device)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        try:
            self._run(clips)
        except BaseException:
            self._frames.failed()
            raise
        self._frames.finished()
        self._tables_in_use.clear()
        return self._inference(len(clips))

    def _run(self, clips: Sequence[Clip]) -> None:
        """Queue the batch and wait for its end."""
        with torch.inference_mode(), self._timeline.working():
            with CAPTURES.submitting():
                self._timeline.mark(_STARTED)
                self._prepare(clips)
                self._timeline.mark(_PREPARED)
            with self._turn.taken(self._timeline, _FINISHED):
                self._timeline.mark(_TURN)
                self._compute(len(clips))
                self._timeline.mark(_FINISHED)
        self._timeline.wait(_FINISHED)

    def _inference(self, batch: int) -> Inference:
        between_ms = self._timeline.between_ms
        answers = [answer[:batch].numpy().copy() for answer in self._answers]
        return Inference(
            probabilities=answers.pop(0) if self._manifest.network_output else no_probabilities(batch),
            features=answers.pop(0) if self._manifest.features else None,
            preprocess_ms=between_ms(_STARTED, _PREPARED),
            network_ms=between_ms(_TURN, _FINISHED),
            copy_ms=between_ms(_STARTED, _COPIED),
            wait_ms=between_ms(_PREPARED, _TURN),
        )

    def _prepare(self, clips: Sequence[Clip]) -> None:
        """Preprocess equal clips together; a batch that does not fit into the staging buffer goes in pieces."""
        first = 0
        for piece in _pieces(clips, len(self._staging)):
            staged = self._upload(piece)
            if not first:
                self._timeline.mark(_COPIED)
            for frames, alike in staged:
                batch = len(frames) // clips[0].frames.shape[0]
                self._preprocess_into(self._pixels[first : first + batch].flatten(0, 1), frames, alike)
                first += batch

    def _upload(self, clips: list[Clip]) -> list[tuple[torch.Tensor, _Kind]]:
        """Queue the copies; frames on the device, uint8 [N * T, H, W, 3], for each run of equal clips."""
        if self._device.type == "cpu":
            return [(torch.from_numpy(clip.frames), _Kind.of(clip)) for clip in clips]
        staged, offset = [], 0
        for kind, alike in itertools.groupby(clips, _Kind.of):
            begin = offset
            for clip in alike:
                place = self._staging[offset : offset + clip.frames.nbytes].view(kind.shape)
                self._frames.copy(clip, place)
                offset += clip.frames.nbytes
            staged.append((self._staging[begin:offset].view(-1, *kind.shape[1:]), kind))
        return staged

    def _preprocess_into(self, out: torch.Tensor, frames: torch.Tensor, kind: _Kind) -> None:
        tables = self._preprocess.tables(kind.shape[1], kind.shape[2], kind.cropped)
        self._tables_in_use.append(tables)
        work = functools.partial(self._preprocess, frames, kind.pixel_format, out, tables)
        key = (out.storage_offset(), frames.storage_offset(), tuple(frames.shape), kind)
        self._preparations(key, work, out)

    def _compute(self, batch: int) -> None:
        # A graph holds the work for all outputs, so that its first answers show whether it is right.
        self._batches(batch, functools.partial(self._run_network, batch), self._answers[0][:batch])

    def _run_network(self, batch: int) -> None:
        self._network.run(self._pixels[:batch], [output[:batch] for output in self._outputs])
        for answer, output in zip(self._answers, self._outputs, strict=True):
            answer[:batch].copy_(output[:batch], non_blocking=True)


def _pieces(clips: Sequence[Clip], room_bytes: int) -> Iterator[list[Clip]]:
    """Consecutive clips that fit into ``room_bytes`` together; at least one clip in each piece."""
    piece: list[Clip] = []
    for clip in clips:
        if piece and sum(other.frames.nbytes for other in piece) + clip.frames.nbytes > room_bytes:
            yield piece
            piece = []
        piece.append(clip)
    yield piece
