"""Estimates of how long the phases of a batch will take, from the batches that were measured."""

from __future__ import annotations

from engines.engine import Inference

# Weight of the newest batch when an estimate returns to normal after an unusually slow or fast batch.
_NEWEST = 0.05
# A batch is handed over this much earlier than computed, because the event loop and the thread take time as well.
_MARGIN_S = 1e-3


class LatencyEstimate:
    """Estimates the preparation (copy and preprocessing, per clip) and the network (per batch size).

    The preparation estimate follows slow batches at once and fast ones slowly; the network estimate does the opposite.
    Both errors make a batch start too early, so that a few clips miss it; a batch that starts too late leaves the
    device idle. Invariant: all attributes belong to the event loop.
    """

    def __init__(self) -> None:
        self._prepare_s = 0.0
        self._network_s: dict[int, float] = {}

    def record(self, clips: int, inference: Inference) -> None:
        """Include the measured times of a batch of ``clips``."""
        prepare_s, network_s = inference.preprocess_ms / 1e3 / clips, inference.network_ms / 1e3
        self._prepare_s = max(prepare_s, self._prepare_s + _NEWEST * (prepare_s - self._prepare_s))
        known_s = self._network_s.get(clips, network_s)
        self._network_s[clips] = min(network_s, known_s + _NEWEST * (network_s - known_s))

    def prepare_s(self, clips: int) -> float:
        """Seconds from handing over a batch of ``clips`` until its network can start."""
        return self._prepare_s * clips + _MARGIN_S

    def network_s(self, clips: int) -> float:
        """Seconds that the network takes for a batch of ``clips``; 0 until such a batch was measured."""
        return self._network_s.get(clips, 0.0)
