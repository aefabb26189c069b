"""One batch at a time on its way through the device: frames up, preprocessing, network, probabilities down."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from engines.captured import CapturedRuns
from engines.clip import Clip
from engines.device_preprocessing import DevicePreprocessor
from engines.device_timeline import timeline
from engines.engine import Inference
from engines.manifest import Manifest

_STARTED, _PREPARED, _FINISHED = range(3)
_DTYPES = {"float32": torch.float32, "float16": torch.float16}


class DeviceNetwork(Protocol):
    """The compiled network; each lane has its own."""

    def run(self, pixels: torch.Tensor, probabilities: torch.Tensor) -> None:
        """Queue work on the current stream that fills ``probabilities`` [N, labels] from ``pixels`` [N, T, 3, ...]."""
        ...


class Lane:
    """Buffers, a stream and a network of its own, so that lanes can work side by side."""

    def __init__(
        self, network: DeviceNetwork, manifest: Manifest, device: torch.device, max_clip_bytes: int, *, graphs: bool
    ) -> None:
        self._network, self._device = network, device
        dtype, most = _DTYPES[manifest.network_input.dtype], manifest.max_batch
        self._preprocess = DevicePreprocessor(manifest.preprocessing, device)
        self._staging = torch.empty(max_clip_bytes if device.type == "cuda" else 0, dtype=torch.uint8, device=device)
        self._pixels = torch.zeros((most, *manifest.network_input.clip_shape), dtype=dtype, device=device)
        self._probabilities = torch.zeros((most, len(manifest.labels)), device=device)
        self._answers = torch.zeros(self._probabilities.shape, pin_memory=device.type == "cuda")
        self._timeline = timeline(device, 3)
        self._runs = CapturedRuns(self._run_network, self._answers, enabled=graphs and device.type == "cuda")

    def infer(self, clips: Sequence[Clip]) -> Inference:
        with torch.inference_mode(), self._timeline.working():
            self._timeline.mark(_STARTED)
            self._prepare(clips)
            self._timeline.mark(_PREPARED)
            self._runs(len(clips))
            self._timeline.mark(_FINISHED)
        self._timeline.wait(_FINISHED)
        return Inference(
            self._answers[: len(clips)].numpy().copy(),
            self._timeline.between_ms(_STARTED, _PREPARED),
            self._timeline.between_ms(_PREPARED, _FINISHED),
        )

    def _prepare(self, clips: Sequence[Clip]) -> None:
        """Clips of one size go through preprocessing together, as many as there is room for."""
        first = 0
        for group in self._groups(clips):
            frames = self._upload(group)
            out = self._pixels[first : first + len(group)].flatten(0, 1)
            self._preprocess(frames, group[0].pixel_format, out)
            first += len(group)

    def _groups(self, clips: Sequence[Clip]) -> Iterator[list[Clip]]:
        for (shape, _), alike in itertools.groupby(clips, lambda clip: (clip.frames.shape, clip.pixel_format)):
            room = max(1, len(self._staging) // (shape[0] * shape[1] * shape[2] * shape[3]))
            group = list(alike)
            yield from (group[first : first + room] for first in range(0, len(group), room))

    def _upload(self, clips: list[Clip]) -> torch.Tensor:
        """Frames of all ``clips`` one after the other on the device, uint8 [N * T, H, W, 3]; nobody waits."""
        hosts = [torch.from_numpy(clip.frames) for clip in clips]
        if self._device.type == "cpu":
            return torch.cat(hosts) if len(hosts) > 1 else hosts[0]
        staged = self._staging[: sum(host.numel() for host in hosts)].view(-1, *hosts[0].shape[1:])
        for place, host in zip(staged.chunk(len(hosts)), hosts, strict=True):
            place.copy_(host, non_blocking=True)
        return staged

    def _run_network(self, batch: int) -> None:
        self._network.run(self._pixels[:batch], self._probabilities[:batch])
        self._answers[:batch].copy_(self._probabilities[:batch], non_blocking=True)
