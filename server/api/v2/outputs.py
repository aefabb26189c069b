"""The outputs of a model: one table, and how an output is written for a client."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.manifest import Manifest
from server.batching.clip_queue import Classified

_LENGTH = struct.Struct("<I")

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Output:
    """An output of a bundle: float32 of ``shape`` for each clip; a bundle does not have it where that is None.

    ``labelled``: one value for each label.
    """

    name: str
    shape: Callable[[Manifest], tuple[int, ...] | None]
    values: Callable[[Classified], Values]
    labelled: bool = False
    datatype: str = "FP32"


_OUTPUTS = (
    Output(
        "probabilities",
        shape=lambda manifest: (len(manifest.labels),),
        values=lambda answer: answer.probabilities,
        labelled=True,
    ),
    Output(
        "features",
        shape=lambda manifest: (manifest.features.size,) if manifest.features else None,
        values=lambda answer: _present(answer.features),
    ),
)


def outputs_of(manifest: Manifest) -> dict[Output, tuple[int, ...]]:
    """The outputs that the bundle has, each with its shape for one clip."""
    shapes = {output: output.shape(manifest) for output in _OUTPUTS}
    return {output: shape for output, shape in shapes.items() if shape is not None}


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a client gets for an output: float32 ``elements``, or texts for a classification."""

    name: str
    datatype: str
    shape: list[int]
    elements: Values | list[bytes]

    def binary(self) -> bytes:
        """Little-endian, row-major; each text after its length."""
        if isinstance(self.elements, list):
            return b"".join(_LENGTH.pack(len(text)) + text for text in self.elements)
        return self.elements.astype("<f4", copy=False).tobytes()

    def json(self) -> list[Any]:
        if isinstance(self.elements, list):
            return [text.decode() for text in self.elements]
        return list(self.elements.reshape(-1).tolist())


def tensor_of(output: Output, answers: Sequence[Classified]) -> Tensor:
    """The values of ``output`` for all clips."""
    values = np.stack([output.values(answer) for answer in answers]).astype(np.float32, copy=False)
    return Tensor(output.name, output.datatype, list(values.shape), values)


def classes_of(output: Output, answers: Sequence[Classified], labels: Sequence[str], count: int) -> Tensor:
    """The ``count`` highest values of each clip as ``value:index:label``, the highest first."""
    texts = [text for answer in answers for text in _classes(output.values(answer), labels, count)]
    return Tensor(output.name, "BYTES", [len(answers), count], texts)


def _present(features: Values | None) -> Values:
    if features is None:
        raise RuntimeError("the engine gave no features, although its bundle has them")
    return features


def _classes(values: Values, labels: Sequence[str], count: int) -> list[bytes]:
    order = np.argsort(-values, kind="stable")[:count]
    return [f"{values[index]:f}:{index}:{labels[index]}".encode() for index in order]
