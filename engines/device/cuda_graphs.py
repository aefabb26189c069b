"""Work whose many launches are given to the device as one CUDA graph, when it comes again and again."""

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

# A graph may choose other kernels than a plain run, and FP16 rounds differently then; less than a level of a pixel.
_TOLERANCE = 5e-3

Work = Callable[[], None]


class Recorder(Protocol):
    """Makes graphs of work."""

    def record(self, work: Work) -> Work:
        """Call ``work``, which only records what it launches; what then launches it; raises RuntimeError."""
        ...

    def wait(self) -> None:
        """Until all that was launched is done."""
        ...


class CudaRecorder:
    """On the current stream. Its graphs share their memory, because they never run at once."""

    # torch keeps some of a capture's state for the whole process.
    _one_at_a_time = threading.Lock()

    @functools.cached_property
    def _pool(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        with self._one_at_a_time:
            # The default mode would fail on any CUDA call of another thread meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        return graph.replay

    def wait(self) -> None:
        torch.cuda.current_stream().synchronize()


class GraphSwitch:
    """On until one graph of its kind fails, in any lane; then everything of that kind is launched plainly."""

    def __init__(self, what: str) -> None:
        self.what, self.is_on = what, True

    def turn_off(self, key: Hashable, why: str) -> None:
        """Warns once."""
        if self.is_on:
            self.is_on = False
            _log.warning("no CUDA graphs, launching plainly", extra={"of": self.what, "key": str(key), "why": why})


@dataclass(frozen=True, slots=True)
class _Graph:
    """``work`` is kept for the tensors that it holds, which the graph reads and writes without holding them."""

    replay: Work
    work: Work


class CapturedRuns:
    """A lane's graphs, the ``most`` that were used last.

    Work is run plainly the first time, so that what comes once costs no graph. The second time it is captured, and
    the graph taken only if it does the same.
    """

    def __init__(self, recorder: Recorder, switch: GraphSwitch, most: int) -> None:
        self._recorder, self._switch, self._most = recorder, switch, most
        self._known: OrderedDict[Hashable, _Graph | None] = OrderedDict()

    def __call__(self, key: Hashable, work: Work, result: torch.Tensor) -> None:
        """Queue ``work``, always the same for a ``key``, on the current stream; it fills ``result``, floats."""
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
            # Its memory is given back only when the device has done with it.
            self._recorder.wait()
            self._known.popitem(last=False)

    def _captured(self, key: Hashable, work: Work, result: torch.Tensor) -> _Graph | None:
        """The graph, or None, with ``work`` done plainly and no more graphs to come."""
        work()
        self._recorder.wait()
        expected = result.clone()
        try:
            graph = _Graph(self._recorder.record(work), work)
            # A graph that was captured empty would leave these.
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
