"""The JSON of an inference request in the Open Inference Protocol, as it is sent."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server.errors import InvalidError, UnreadableError, shown

# Sizes and offsets are int64 in the protocol.
Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]

_NOTHING = msgspec.Raw()


class SharedMemory(msgspec.Struct):
    """The parameters that place a tensor in a registered region, relative to the begin of that region."""

    shared_memory_region: str | None = None
    shared_memory_offset: Size = 0
    shared_memory_byte_size: Size | None = None


class InputParameters(SharedMemory):
    """``binary_data_size``: the length of the tensor in bytes, in the body after the JSON."""

    binary_data_size: Size | None = None


class OutputParameters(SharedMemory):
    """``classification``: how many of the most probable labels are wanted as texts instead of the values."""

    binary_data: bool | None = None
    classification: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class RequestParameters(msgspec.Struct):
    """``timeout`` is in microseconds, 0 for the default of the service; ``priority`` 0 is the default, 1 the highest.

    ``format``: the order of the channels of UINT8 frames.
    """

    format: str = "BGR"
    priority: Annotated[int, Meta(ge=0)] = 0
    timeout: Annotated[int, Meta(ge=0)] = 0
    binary_data_output: bool = False
    sequence_id: int | str = 0


class InputTensor(msgspec.Struct):
    """``shape`` and ``data`` stay JSON texts: of a long list, the parser would make an object for each element."""

    name: str
    datatype: str
    shape: msgspec.Raw
    data: msgspec.Raw = _NOTHING
    parameters: InputParameters | None = None


class OutputTensor(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters | None = None


class InferBody(msgspec.Struct):
    """The request. Members and parameters of other servers are ignored, as the protocol allows."""

    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[OutputTensor] | None = None
    parameters: RequestParameters | None = None


_DECODER = msgspec.json.Decoder(InferBody)


def decode_body(text: bytes | bytearray | memoryview) -> InferBody:
    """Raises UnreadableError for what is no JSON, InvalidError for what is no request."""
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        # The message names types and known members only, so that no text of the client is in it.
        raise InvalidError(f"the request is not one of the Open Inference Protocol: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"the JSON of the request cannot be read: {shown(str(error))}") from None
