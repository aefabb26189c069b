"""How long an engine's phases take, as measured, and when it will want the next batch."""

from __future__ import annotations

from engines.engine import Inference

# How fast an estimate goes back to what is usual, after a batch that was faster or slower than that.
_NEWEST = 0.05
# A batch is handed over so much before it is needed: the event loop and the thread want some of it.
_MARGIN_S = 1e-3


class LatencyEstimate:
    """Times of preparation (copy and preprocessing, for each clip) and of the network (for each size of batch).

    Networks are taken to be fast and preparations slow, as they were lately: a batch that comes too early keeps a few
    clips out of it, one that comes too late leaves the device idle.
    """

    def __init__(self) -> None:
        self._prepare_s = 0.0
        self._network_s: dict[int, float] = {}

    def record(self, clips: int, inference: Inference) -> None:
        """A batch of ``clips`` went through."""
        prepare_s, network_s = inference.preprocess_ms / 1e3 / clips, inference.network_ms / 1e3
        self._prepare_s = max(prepare_s, self._prepare_s + _NEWEST * (prepare_s - self._prepare_s))
        known_s = self._network_s.get(clips, network_s)
        self._network_s[clips] = min(network_s, known_s + _NEWEST * (network_s - known_s))

    def prepare_s(self, clips: int) -> float:
        """Seconds from handing ``clips`` over to the start of their network."""
        return self._prepare_s * clips + _MARGIN_S

    def network_s(self, clips: int) -> float:
        """Seconds of the network for a batch of ``clips``; 0 until one was measured."""
        return self._network_s.get(clips, 0.0)
