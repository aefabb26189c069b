"""What a request asks of its outputs and of the queue, checked before its clips are classified."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engines.manifest import Manifest
from server.api.v2.outputs import Output, outputs_of
from server.clips.lease import Lease
from server.clips.tensors.frames_tensor import PRIORITIES
from server.clips.tensors.infer_body import OutputParameters, OutputTensor, RequestParameters
from server.clips.tensors.regions import Region
from server.clips.tensors.tensor_reader import Asked, FindRegion
from server.config.settings import LONGEST_DEADLINE_MS
from server.errors import InvalidError, shown
from server.serving.classify import Terms

_FLOAT_BYTES = 4
_MICROSECONDS = 1000


@dataclass(frozen=True, slots=True)
class Requested:
    """An output that is asked for, and the place that it goes to: a region, binary data or JSON."""

    output: Output
    classes: int
    binary: bool
    region: Region | None = None
    offset: int = 0
    byte_size: int = 0


def requested_outputs(asked: Asked, manifest: Manifest, find_region: FindRegion, lease: Lease) -> list[Requested]:
    """Which outputs are asked for, all by default; ``lease`` keeps their regions.

    Raises:
        InvalidError: an output, or the place for it, is not accepted.
        NotFoundError: its region is not registered.
    """
    by_name = {output.name: output for output in outputs_of(manifest)}
    tensors = asked.outputs or [OutputTensor(name) for name in by_name]
    names = [tensor.name for tensor in tensors]
    for name in names:
        if name not in by_name:
            raise InvalidError(f"unknown output {shown(name)!r}; accepted: {', '.join(by_name)}", field="outputs")
        if names.count(name) > 1:
            raise InvalidError(f"the output {name} is asked for twice", field="outputs")
    return [_requested(tensor, by_name[tensor.name], asked, manifest, find_region, lease) for tensor in tensors]


def terms_of(parameters: RequestParameters, terms: Terms) -> Terms:
    """``terms`` with the priority and the timeout of the request, where it has them; raises InvalidError."""
    if parameters.sequence_id:
        raise InvalidError("sequence_id is not accepted: requests are independent of each other", field="sequence_id")
    if parameters.priority not in PRIORITIES:
        raise InvalidError(
            f"priority is {shown(str(parameters.priority))}; accepted: 0 (default), 1 (high), 2 (normal), 3 (low)",
            field="priority",
        )
    if parameters.timeout > LONGEST_DEADLINE_MS * _MICROSECONDS:
        raise InvalidError(
            f"timeout is {shown(str(parameters.timeout))}; accepted: 0 (default) to"
            f" {LONGEST_DEADLINE_MS * _MICROSECONDS} microseconds",
            field="timeout",
        )
    if parameters.priority:
        terms = replace(terms, priority=PRIORITIES[parameters.priority])
    if parameters.timeout:
        terms = replace(terms, deadline_ms=max(1, parameters.timeout // _MICROSECONDS))
    return terms


def _requested(
    tensor: OutputTensor, output: Output, asked: Asked, manifest: Manifest, find_region: FindRegion, lease: Lease
) -> Requested:
    parameters = tensor.parameters or OutputParameters()
    classes = parameters.classification
    if classes and not (output.labelled and classes <= len(manifest.labels)):
        most = len(manifest.labels) if output.labelled else 0
        raise InvalidError(
            f"classification is {classes} for {output.name}; accepted: at most {most}", field="classification"
        )
    binary = asked.parameters.binary_data_output if parameters.binary_data is None else parameters.binary_data
    name, byte_size = parameters.shared_memory_region, parameters.shared_memory_byte_size
    if name is None and byte_size is None:
        return Requested(output, classes, binary)
    if name is None or byte_size is None:
        raise InvalidError("shared_memory_region and shared_memory_byte_size go together", field="outputs")
    region = find_region(name)
    region.check(parameters.shared_memory_offset, byte_size)
    if not classes:
        values = asked.frames.clips * math.prod(outputs_of(manifest)[output])
        check_room(output, values * _FLOAT_BYTES, byte_size)
    return Requested(output, classes, binary, lease.take(region.used()), parameters.shared_memory_offset, byte_size)


def check_room(output: Output, needed_bytes: int, byte_size: int) -> None:
    """Raises InvalidError unless an output of ``needed_bytes`` fits into ``byte_size`` of its region."""
    if needed_bytes > byte_size:
        raise InvalidError(
            f"the output {output.name} takes {needed_bytes} bytes, but shared_memory_byte_size is {byte_size}",
            field="shared_memory_byte_size",
        )
