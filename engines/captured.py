"""The network's many launches as one CUDA graph for each batch size."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from engines.errors import first_line

_log = logging.getLogger(__name__)

# A graph may choose other kernels than a plain run, and FP16 rounds differently then.
_TOLERANCE = 5e-3


class CapturedRuns:
    """Calls ``run(batch)``: plainly at first, later as a graph if that can be captured and answers the same."""

    def __init__(self, run: Callable[[int], None], answers: torch.Tensor, *, enabled: bool) -> None:
        """``answers`` is where ``run`` leaves its result on the host."""
        self._run, self._answers, self._enabled = run, answers, enabled
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, batch: int) -> None:
        """Queue the work on the current stream."""
        if not self._enabled:
            self._run(batch)
        elif batch in self._graphs:
            self._graphs[batch].replay()
        else:
            self._first(batch)

    def _first(self, batch: int) -> None:
        """Run plainly, capture, and replay to see that the graph does the same; once for each batch size."""
        self._run(batch)
        torch.cuda.current_stream().synchronize()
        expected = self._answers[:batch].clone()
        try:
            graph = self._capture(batch)
            # A graph that was captured empty would leave these.
            self._answers[:batch].fill_(-1)
            graph.replay()
            torch.cuda.current_stream().synchronize()
        except RuntimeError as error:
            self._give_up(batch, first_line(error))
            return
        if torch.allclose(self._answers[:batch], expected, atol=_TOLERANCE, rtol=0):
            self._graphs[batch] = graph
        else:
            self._give_up(batch, "the graph answers otherwise")

    def _capture(self, batch: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # The default mode would fail on any CUDA call of another thread meanwhile.
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            self._run(batch)
        finally:
            graph.capture_end()
        return graph

    def _give_up(self, batch: int, why: str) -> None:
        self._enabled = False
        self._graphs.clear()
        _log.warning("no CUDA graph, launching plainly", extra={"batch": batch, "why": why})
        self._run(batch)
