"""The fields of a request besides its frames, checked in the same way for every encoding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args
from uuid import uuid4

from engines.clip import PixelFormat
from engines.linear_heads.manifest import ALL
from server.clips.infer_request import (
    CLASSIFIES_ONLY,
    DEFAULT_TOP_K,
    EMBEDS_ONLY,
    MAX_CLIP_ID_CHARACTERS,
    MAX_SIDE_PIXELS,
    EncodingFormat,
    InferBody,
    InferParts,
    InferQuery,
)
from server.errors import InvalidError, shown

_FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)
_ENCODING_FORMATS: tuple[EncodingFormat, ...] = get_args(EncodingFormat)
_NUMBERS = ("width", "height", "top_k")
# More digits than any accepted number has; Python reads longer numbers slowly.
_MOST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """The checked fields; ``size`` is height and width in pixels, None when the images tell it.

    ``head``: the name of a head, ``all``, or None for the labels of the model itself.
    """

    size: tuple[int, int] | None
    pixel_format: PixelFormat
    clip_id: str
    top_k: int
    head: str | None = None
    encoding_format: EncodingFormat = "float"


@dataclass(frozen=True, slots=True)
class Offered:
    """How a clip can be answered: with how many labels of the model itself, and how many of each head.

    ``embeds``: it is answered with its features instead. ``names``: those of the model, one of which the request may
    have; none where it is not asked.
    """

    labels: int
    heads: Mapping[str, int] = field(default_factory=dict)
    embeds: bool = False
    names: Sequence[str] = ()

    def check_name(self, name: str | None) -> None:
        """Raises InvalidError for the name of another model."""
        if name is not None and name not in self.names:
            raise InvalidError(f"model is {shown(name)}; accepted: {', '.join(self.names)}", field="model")

    def labels_of(self, head: str | None) -> int:
        """The most predictions that ``head`` gives; raises InvalidError."""
        if head is None and self.labels:
            return self.labels
        if head == ALL and (self.heads or self.labels):
            return max(self.labels, *self.heads.values(), 1)
        if head is not None and head in self.heads:
            return self.heads[head]
        accepted = ", ".join((ALL, *sorted(self.heads))) if self.heads else "none, because no head fits this model"
        if head is None:
            raise InvalidError(f"this model has no labels of its own; accepted as head: {accepted}", field="head")
        raise InvalidError(f"head is {shown(head)}; accepted: {accepted}", field="head")


def checked(sent: InferBody | InferQuery | InferParts, offered: Offered) -> ClipRequest:
    """The fields of ``sent`` for an engine that answers as ``offered``; raises InvalidError."""
    for name in CLASSIFIES_ONLY if offered.embeds else EMBEDS_ONLY:
        if getattr(sent, name) is not None:
            raise InvalidError(f"{name} is no field of this endpoint", field=name)
    offered.check_name(sent.model)
    return ClipRequest(
        size=_checked_size(sent.height, sent.width),
        pixel_format=_checked_format(sent.format),
        clip_id=_checked_clip_id(sent.clip_id),
        top_k=1 if offered.embeds else checked_top_k(sent.top_k, offered.labels_of(sent.head)),
        head=sent.head,
        encoding_format=_checked_encoding_format(sent.encoding_format),
    )


def read_texts(texts: Iterable[tuple[str, str]], accepted: Sequence[str]) -> dict[str, Any]:
    """The values of fields that were sent as texts, by their names; raises InvalidError, also for a repeated field."""
    fields: dict[str, Any] = {}
    for name, text in texts:
        if name not in accepted:
            raise InvalidError(f"unknown field {shown(name)}; accepted: {', '.join(accepted)}", field=shown(name))
        if name in fields:
            raise InvalidError(f"{name} is there twice", field=name)
        fields[name] = _number(name, text) if name in _NUMBERS else text
    return fields


def _number(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS):
        raise InvalidError(f"{name} is {text[:32]!r}; accepted: a whole number", field=name)
    return int(text)


def _checked_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    if height is None and width is None:
        return None
    for name, side in (("height", height), ("width", width)):
        if side is None:
            raise InvalidError(f"{name} is missing; give both width and height, or neither", field=name)
        if not 1 <= side <= MAX_SIDE_PIXELS:
            raise InvalidError(f"{name} is {side}; accepted: 1 to {MAX_SIDE_PIXELS} pixels", field=name)
    return (height, width) if height is not None and width is not None else None


def _checked_format(name: str) -> PixelFormat:
    for known in _FORMATS:
        if name == known:
            return known
    raise InvalidError(f"format is {name[:32]!r}; accepted: {', '.join(_FORMATS)}", field="format")


def _checked_encoding_format(name: str | None) -> EncodingFormat:
    for known in _ENCODING_FORMATS:
        if name in (None, known):
            return known
    accepted = ", ".join(_ENCODING_FORMATS)
    raise InvalidError(f"encoding_format is {shown(str(name)[:32])}; accepted: {accepted}", field="encoding_format")


def _checked_clip_id(clip_id: str | None) -> str:
    if clip_id is None:
        return str(uuid4())
    if len(clip_id) > MAX_CLIP_ID_CHARACTERS:
        raise InvalidError(
            f"clip_id has {len(clip_id)} characters; accepted: at most {MAX_CLIP_ID_CHARACTERS}", field="clip_id"
        )
    return clip_id


def checked_top_k(top_k: int | None, labels: int) -> int:
    """``top_k`` or its default; raises InvalidError unless there are that many labels."""
    if top_k is None:
        return min(DEFAULT_TOP_K, labels)
    if not 1 <= top_k <= labels:
        raise InvalidError(f"top_k is {top_k}; accepted: 1 to {labels}, the label count", field="top_k")
    return top_k
