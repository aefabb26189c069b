"""``torch.cuda`` and the driver on the CPU, with the rules of streams, graphs and the caching allocator.

Work runs at once, in the thread that submits it. While a stream captures, operations are recorded, and a replay repeats
them on the same memory. What only misbehaves on a real device is written into ``violations``; what torch refuses is
refused with torch's words (2.8; later releases clean up more of a failed capture).
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from engines.device import cuda_driver

GIB = 2**30
# Of each lane; the real one would take 256 MiB of this machine's memory.
WORKSPACE_BYTES = 4 * 2**20


class Capture:
    """What one graph recorded."""

    def __init__(self, thread: int, pool: int) -> None:
        self.thread, self.pool = thread, pool
        self.steps: list[Callable[[], None]] = []
        self.written: list[torch.Tensor] = []
        self.allocated_bytes = 0
        self.broken: str | None = None

    def replay(self) -> None:
        for step in self.steps:
            step()
        if self.broken:
            for tensor in self.written:
                if tensor.is_floating_point():
                    tensor.fill_(torch.nan)


class FakeCuda:
    """One GPU, or several; ``install`` puts it in the place of torch's."""

    def __init__(self, name: str = "Fake GPU", capability: str = "9.0", devices: int = 1) -> None:
        self.name, self.capability, self.devices = name, capability, devices
        self.violations: list[str] = []
        self.captures: list[Capture] = []
        self.capture: Capture | None = None
        self.recording: set[int] = set()
        self.reserved_bytes: Counter[int] = Counter()
        self.device_wide_waits = 0
        # Which stream waited for an event of which other one, in their order.
        self.followed: list[tuple[int, int]] = []
        self.fail_capture: str | None = None
        self.on_capture: Callable[[], None] = lambda: None
        self._pools = itertools.count(1)
        self._threads = threading.local()

    def submit(self, what: str) -> None:
        """Some thread submits work; called by the fakes of the libraries."""
        capture = self.capture
        if capture is not None and capture.thread != threading.get_ident():
            self.violations.append(f"{what} while another thread captures")
            capture.broken = what

    @property
    def capturing_here(self) -> Capture | None:
        capture = self.capture
        return capture if capture is not None and capture.thread == threading.get_ident() else None

    @property
    def stream(self) -> Any:
        return getattr(self._threads, "stream", None) or types.SimpleNamespace(
            cuda_stream=0, synchronize=lambda: self.wait("a stream")
        )

    def wait(self, what: str) -> None:
        if self.capturing_here:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        names = {
            "device": lambda device: _DeviceBlock(self),
            "stream": lambda stream: _StreamBlock(self, stream),
            "Stream": lambda device=None: _Stream(self),
            "Event": lambda **options: _Event(self),
            "CUDAGraph": lambda: _Graph(self),
            "graph_pool_handle": lambda: next(self._pools),
            "current_stream": lambda device=None: self.stream,
            "current_device": lambda: 0,
            "synchronize": self._synchronize,
            "mem_get_info": self._mem_get_info,
            "get_device_name": lambda device=None: self.name,
            "get_device_capability": lambda device=None: tuple(map(int, self.capability.split("."))),
            "get_arch_list": list,
            "init": lambda: None,
            "empty_cache": self._empty_cache,
            "is_current_stream_capturing": lambda: self.capturing_here is not None,
        }
        for name, fake in names.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self._end_pool)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        load = ctypes.CDLL
        driver = _Driver(self)
        monkeypatch.setattr(
            ctypes, "CDLL", lambda name, *a, **k: driver if name == cuda_driver._LIBRARY else load(name, *a, **k)
        )
        return self

    def _synchronize(self, device: object = None) -> None:
        self.device_wide_waits += 1
        self.submit("a wait for the whole device")
        self.wait("a device")

    def _mem_get_info(self, device: object = None) -> tuple[int, int]:
        self.submit("mem_get_info")
        return 40 * GIB, 80 * GIB

    def _empty_cache(self) -> None:
        self.submit("empty_cache")
        if self.recording:
            raise RuntimeError('captures_underway.empty() INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":3941')

    def _end_pool(self, device: int, pool: int) -> None:
        if pool not in self.recording:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.recording.remove(pool)


class _Graph:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._capture: Capture | None = None

    def capture_begin(self, pool: int, capture_error_mode: str) -> None:
        cuda = self._cuda
        cuda.submit("capture_begin")
        if cuda.stream.cuda_stream == 0:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        if pool in cuda.recording:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        if capture_error_mode != "thread_local":
            cuda.violations.append("waits of other threads fail while one captures")
        cuda.recording.add(pool)
        self._capture = cuda.capture = Capture(threading.get_ident(), pool)
        cuda.captures.append(self._capture)
        cuda.on_capture()

    def capture_end(self) -> None:
        cuda, capture = self._cuda, self._capture
        assert capture is not None
        cuda.capture = None
        if cuda.fail_capture or capture.broken == "failed":
            # As in torch until 2.12, the allocator is not told: it goes on recording into the pool.
            raise RuntimeError(
                cuda.fail_capture or "CUDA error: operation failed due to a previous error during capture"
            )
        cuda.recording.discard(capture.pool)
        reserved = cuda.reserved_bytes
        reserved[capture.pool] = max(reserved[capture.pool], capture.allocated_bytes)
        # Nothing has run yet on a real device. What the recording computed must not be taken for an answer.
        for tensor in capture.written:
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)

    def replay(self) -> None:
        assert self._capture is not None
        self._cuda.submit("replay")
        self._capture.replay()

    def reset(self) -> None:
        self._capture = None


class _Stream:
    _numbers = itertools.count(1)

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda, self.cuda_stream = cuda, next(self._numbers)

    def wait_event(self, event: _Event) -> None:
        self._cuda.submit("wait_event")
        self._cuda.followed.append((self.cuda_stream, event.recorded_on))

    def synchronize(self) -> None:
        self._cuda.wait("a stream")


class _Event:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda, self._time_s = cuda, 0.0
        self.recorded_on = 0

    def record(self, stream: Any = None) -> None:
        self._cuda.submit("an event")
        self.recorded_on = stream.cuda_stream if stream is not None else 0
        self._time_s = time.perf_counter()

    def synchronize(self) -> None:
        self._cuda.wait("an event")

    def elapsed_time(self, end: _Event) -> float:
        return (end._time_s - self._time_s) * 1e3


class _StreamBlock:
    def __init__(self, cuda: FakeCuda, stream: _Stream) -> None:
        self._cuda, self._stream = cuda, stream

    def __enter__(self) -> None:
        self._before = getattr(self._cuda._threads, "stream", None)
        self._cuda._threads.stream = self._stream

    def __exit__(self, *error: object) -> None:
        self._cuda._threads.stream = self._before


class _DeviceBlock:
    """In it, tensors of the device are made on the CPU, and operations are submitted or recorded."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._modes: tuple[Any, ...] = ()

    def __enter__(self) -> None:
        if getattr(self._cuda._threads, "inside", False):
            return
        self._cuda._threads.inside = True
        self._modes = (_Recording(self._cuda), _Placing())
        for mode in self._modes:
            mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)
        if self._modes:
            self._cuda._threads.inside = False


class _Placing(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        kwargs.pop("pin_memory", None)
        if "device" in kwargs:
            kwargs["device"] = _placed(kwargs["device"])
        return func(*map(_placed, args), **kwargs)


def _placed(value: Any) -> Any:
    return torch.device("cpu") if isinstance(value, torch.device) else value


class _Recording(TorchDispatchMode):
    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__()
        self._cuda = cuda

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cuda, kwargs, run = self._cuda, kwargs or {}, _ON_CPU.get(func, func)
        made = run(*args, **kwargs)
        outputs = _tensors(made)
        if not func._schema.is_mutable and _memory(outputs) & _memory(args):
            return made  # a view, for which nothing is launched
        cuda.submit(str(func))
        capture = cuda.capturing_here
        if capture is not None:
            capture.steps.append(lambda: _repeat(run, args, kwargs, outputs))
            capture.written += outputs
            if not func._schema.is_mutable:
                capture.allocated_bytes += sum(one.nbytes for one in outputs)
        return made


# torch wraps what a subclass defines under this name, and the wrapper imports torch's compiler, which takes seconds.
_Recording.__torch_dispatch__ = _Recording.dispatch


def _product(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return one.to(dtype) @ other.to(dtype)


# What only CUDA can compute.
_ON_CPU: dict[Any, Callable[..., Any]] = {torch.ops.aten.mm.dtype: _product}


def _tensors(values: Any) -> list[torch.Tensor]:
    return [one for one in (values if isinstance(values, tuple | list) else (values,)) if isinstance(one, torch.Tensor)]


def _memory(values: Any) -> set[int]:
    return {one.untyped_storage().data_ptr() for one in _tensors(values)}


def _repeat(func: Any, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    for old, new in zip(outputs, _tensors(func(*args, **kwargs)), strict=True):
        if old.data_ptr() != new.data_ptr():
            old.copy_(new)


class _Driver:
    """``libcuda`` as far as it is asked about devices."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self._cuda.devices
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13000
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self._cuda.name.encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, device: Any) -> int:  # noqa: N802
        parts = self._cuda.capability.split(".")
        value._obj.value = int(parts[0] if which == cuda_driver._COMPUTE_CAPABILITY_MAJOR else parts[1])
        return 0
