"""Captures repeated work as CUDA graphs, so that its many kernels take one launch."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from engines.device.capture_gate import CAPTURES
from engines.errors import first_line

_log = logging.getLogger(__name__)

# A graph may use other kernels than a plain run, whose FP16 rounding differs by less than one pixel level.
_TOLERANCE = 5e-3

Work = Callable[[], None]


class Recorder(Protocol):
    """Records work as graphs."""

    def record(self, work: Work) -> Work | None:
        """Capture the launches of ``work`` without running them; returns the replay; raises RuntimeError.

        Returns None when nothing can be captured now, so that the caller tries again later.
        """
        ...

    def wait(self) -> None:
        """Block until all launched work has finished."""
        ...


class CudaRecorder:
    """Records one kind of work on the current stream, alone in the process.

    Invariant: its graphs never run concurrently, so they share one memory pool. After a failed capture the pool is
    given up, because torch may go on recording into it, and would then refuse the next capture.
    """

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, work: Work) -> Work | None:
        with CAPTURES.capturing() as alone:
            return self._record(work) if alone else None

    def wait(self) -> None:
        torch.cuda.current_stream().synchronize()

    def _record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        try:
            # In the default mode, a thread that only waits for its batch would make the capture fail.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                # The stream must leave its capture; the error of ``work`` is the one to report.
                with contextlib.suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        except BaseException:
            self._give_up_pool(graph)
            raise
        return graph.replay

    def _give_up_pool(self, graph: torch.cuda.CUDAGraph) -> None:
        pool, self._pool = self._pool, None
        with contextlib.suppress(RuntimeError):
            graph.reset()
        # Releases of torch differ in whether a failed capture ends the recording; a second end only raises.
        with contextlib.suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)


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
        self._reserved: Work | None = None

    def reserve(self, work: Work) -> None:
        """Capture ``work`` once for the memory that it allocates, which all later captures then find in the pool.

        Raises:
            torch.OutOfMemoryError: the device has not that much memory.
        """
        if not self._switch.is_on:
            return
        try:
            self._reserved = self._recorder.record(work)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._switch.turn_off("reserve", first_line(error))

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
        """A checked graph; or None after running ``work`` without one, because none can be captured now or ever."""
        work()
        self._recorder.wait()
        expected = result.clone()
        try:
            replay = self._recorder.record(work)
            if replay is None:
                return None
            graph = _Graph(replay, work)
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
