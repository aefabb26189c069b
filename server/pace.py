"""How long an engine's phases take, as measured, and when it will want the next batch."""

from __future__ import annotations

from engines.engine import Inference

# Weight of the newest batch: a few batches after a change the old times are forgotten.
_NEWEST = 0.2
# A batch is handed over so much before it is needed: the event loop and the thread want some of it.
_MARGIN_S = 1e-3


class Pace:
    """Times of preparation (copy and preprocessing, for each clip) and of the network (for each size of batch)."""

    def __init__(self) -> None:
        self._prepare_s = 0.0
        self._network_s: dict[int, float] = {}

    def record(self, clips: int, inference: Inference) -> None:
        """A batch of ``clips`` went through."""
        prepare_s, network_s = inference.preprocess_ms / 1e3 / clips, inference.network_ms / 1e3
        self._prepare_s = _averaged(self._prepare_s, prepare_s)
        self._network_s[clips] = _averaged(self._network_s.get(clips, 0.0), network_s)

    def prepare_s(self, clips: int) -> float:
        """Seconds from handing ``clips`` over to the start of their network; 0 until any was measured."""
        return self._prepare_s * clips + _MARGIN_S

    def network_s(self, clips: int) -> float:
        """Seconds of the network for a batch of ``clips``; 0 until one was measured."""
        return self._network_s.get(clips, 0.0)


def _averaged(known: float, measured: float) -> float:
    return known + _NEWEST * (measured - known) if known else measured
