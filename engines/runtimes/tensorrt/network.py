"""The execution contexts in which one lane runs a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import torch

from engines.errors import EngineError
from engines.runtimes.tensorrt.api import TensorRt
from engines.runtimes.tensorrt.errors import ErrorLog
from engines.runtimes.tensorrt.kernel_cache import KernelCache
from engines.runtimes.tensorrt.plan import Plan

if TYPE_CHECKING:
    import tensorrt_rtx as trt


@dataclass(frozen=True, slots=True)
class _Context:
    context: trt.IExecutionContext
    capturable: bool


class TensorRtNetwork:
    """One lane's execution contexts of a shared plan, one for each batch size.

    A CUDA graph owns the state of the context that it was captured from, so each context is used with one shape only.
    All contexts compute in ``memory``; networks that share it must not run concurrently.
    """

    def __init__(self, tensorrt: TensorRt, plan: Plan, memory: torch.Tensor, cache: KernelCache | None) -> None:
        self._tensorrt, self._plan, self._memory = tensorrt, plan, memory
        self._errors = ErrorLog()
        # The contexts come first, because they are then freed before the kernels that they use.
        self._contexts: dict[int, _Context] = {}
        self._cache = cache

    def run(self, pixels: torch.Tensor, outputs: Sequence[torch.Tensor]) -> None:
        plan, batch, stream = self._plan, len(pixels), torch.cuda.current_stream()
        self._errors.clear()
        is_new = batch not in self._contexts
        if is_new:
            self._contexts[batch] = self._new_context(pixels, stream)
        made = self._contexts[batch]
        if not made.capturable and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"{self._tensorrt.target} says that batches of {batch} cannot be captured")
        context = made.context
        started = (
            context.set_tensor_address(plan.input, pixels.data_ptr())
            and all(
                context.set_tensor_address(name, output.data_ptr())
                for name, output in zip(plan.outputs, outputs, strict=True)
            )
            and context.execute_async_v3(stream.cuda_stream)
        )
        if not started:
            self._fail(stream)
        if is_new and self._cache is not None:
            self._cache.save()

    def _new_context(self, pixels: torch.Tensor, stream: torch.cuda.Stream) -> _Context:
        tensorrt, plan, memory = self._tensorrt, self._plan, self._memory
        tensorrt.errors.clear()
        kernels = self._cache.kernels if self._cache is not None else None
        context = tensorrt.execution_context(plan.engine, self._errors, kernels)
        if context is None:
            raise EngineError(
                f"{tensorrt.target} has no memory for an execution context: {tensorrt.errors}",
                help="take --lanes 1, or export with a smaller --max-batch",
            )
        context.set_device_memory(memory.data_ptr(), memory.nbytes)
        fits = context.set_optimization_profile_async(
            plan.profile(len(pixels)), stream.cuda_stream
        ) and context.set_input_shape(plan.input, tuple(pixels.shape))
        if not fits:
            self._fail(stream)
        return _Context(context, tensorrt.is_capturable(context, stream.cuda_stream))

    def _fail(self, stream: torch.cuda.Stream) -> NoReturn:
        if not torch.cuda.is_current_stream_capturing():
            stream.synchronize()  # raises torch's numbered error if the device has failed
        kind = torch.OutOfMemoryError if self._errors.out_of_memory else RuntimeError
        raise kind(f"{self._tensorrt.target} refused to run the network: {self._errors}")


def network_factory(
    tensorrt: TensorRt, plan: Plan, device: torch.device, cache: KernelCache | None, *, side_by_side: bool
) -> Callable[[], TensorRtNetwork]:
    """Makes the network of each lane; lanes whose networks take turns compute in the same memory."""
    blocks: list[torch.Tensor] = []

    def new_network() -> TensorRtNetwork:
        if side_by_side or not blocks:
            blocks[:] = [torch.empty(plan.engine.device_memory_size_v2, dtype=torch.uint8, device=device)]
        return TensorRtNetwork(tensorrt, plan, blocks[0], cache)

    return new_network
