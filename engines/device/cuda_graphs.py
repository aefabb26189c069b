"""Captures repeated work as CUDA graphs, so that its many kernels take one launch."""

from __future__ import annotations

import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from engines.errors import first_line

_log = logging.getLogger(__name__)

# A graph may use other kernels than a plain run, whose FP16 rounding differs by less than one pixel level.
_TOLERANCE = 5e-3

Work = Callable[[], None]


class Recorder(Protocol):
    """Records work as graphs."""

    def record(self, work: Work) -> Work:
        """Capture the launches of ``work`` without running them; returns the replay; raises RuntimeError."""
        ...

    def wait(self) -> None:
        """Block until all launched work has finished."""
        ...


class CudaRecorder:
    """Records on the current stream. Invariant: its graphs never run concurrently, so they share one memory pool."""

    # torch keeps part of the capture state for the whole process.
    _one_at_a_time = threading.Lock()

    @functools.cached_property
    def _pool(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        with self._one_at_a_time:
            # In the default mode, a CUDA call of another thread would make the capture fail.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        return graph.replay

    def wait(self) -> None:
        torch.cuda.current_stream().synchronize()


class GraphSwitch:
    """Is on until a graph of its kind of work fails in any lane; then all lanes launch this work without graphs."""

    def __init__(self, what: str) -> None:
        self.what, self.is_on = what, True

    def turn_off(self, key: Hashable, why: str) -> None:
        """Turn off for good; only the first call logs a warning."""
        if self.is_on:
            self.is_on = False
            _log.warning("no CUDA graphs, launching plainly", extra={"of": self.what, "key": str(key), "why": why})


@dataclass(frozen=True, slots=True)
class _Graph:
    """``work`` keeps the tensors alive that the graph reads and writes by address."""

    replay: Work
    work: Work


class CapturedRuns:
    """A lane's ``most`` most recently used graphs.

    Work runs without a graph the first time, so that work that occurs once costs no capture. The second time it is
    captured, and the graph is kept only if it gives the same result. Invariant: a key always means the same work and
    addresses.
    """

    def __init__(self, recorder: Recorder, switch: GraphSwitch, most: int) -> None:
        self._recorder, self._switch, self._most = recorder, switch, most
        self._known: OrderedDict[Hashable, _Graph | None] = OrderedDict()

    def __call__(self, key: Hashable, work: Work, result: torch.Tensor) -> None:
        """Queue ``work`` of ``key``, which fills the float tensor ``result``, on the current stream."""
        if not self._switch.is_on:
            self._known.clear()
            work()
        elif key not in self._known:
            self._keep(key, None)
            work()
        else:
            graph = self._known[key] or self._captured(key, work, result)
            if graph is not None:
                self._keep(key, graph)
                graph.replay()

    def _keep(self, key: Hashable, graph: _Graph | None) -> None:
        self._known[key] = graph
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            # The device must have finished with a graph before its memory is freed.
            self._recorder.wait()
            self._known.popitem(last=False)

    def _captured(self, key: Hashable, work: Work, result: torch.Tensor) -> _Graph | None:
        """A checked graph; or None after turning the switch off and running ``work`` without a graph."""
        work()
        self._recorder.wait()
        expected = result.clone()
        try:
            graph = _Graph(self._recorder.record(work), work)
            # An empty graph would leave the NaN values in place.
            result.fill_(torch.nan)
            graph.replay()
            self._recorder.wait()
        except RuntimeError as error:
            self._switch.turn_off(key, first_line(error))
        else:
            if torch.allclose(result, expected, atol=_TOLERANCE, rtol=0):
                return graph
            self._switch.turn_off(key, "the graph answers otherwise")
        work()
        return None
