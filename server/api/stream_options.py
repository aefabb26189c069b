"""What a hello asks for, checked and with the defaults that depend on the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engines.linear_heads.head import Head
from engines.linear_heads.manifest import ALL
from engines.manifest import Manifest
from server.api.stream_messages import Hello
from server.errors import InvalidError, shown
from server.streams.options import StillOptions, StreamOptions


def options_of(hello: Hello, manifest: Manifest, heads: Mapping[str, Head]) -> StreamOptions:
    """Raises InvalidError for labels that nothing of what the stream asks for has; ``heads`` are those that fit."""
    return StreamOptions(
        name=hello.name or "stream",
        fps=hello.fps,
        stride=hello.stride or manifest.frames,
        max_gap_s=hello.max_gap_s or max(1.5 / hello.fps, 0.5),
        policy=hello.policy,
        pixel_format=hello.format,
        weight=hello.weight,
        still=_still(hello, _labels(hello, manifest, heads)) if hello.still == "skip" else None,
        head=hello.head,
        embeds=hello.embedding is not None,
    )


def _labels(hello: Hello, manifest: Manifest, heads: Mapping[str, Head]) -> Sequence[str]:
    if hello.head is None:
        return manifest.labels
    if hello.head != ALL:
        return heads[hello.head].labels if hello.head in heads else ()
    return [*manifest.labels, *(label for head in heads.values() for label in head.labels)]


def _still(hello: Hello, labels: Sequence[str]) -> StillOptions:
    unknown = next((label for label in hello.event_labels if label not in labels), None)
    if unknown is not None:
        asked = "the model does" if hello.head is None else "the heads asked for do"
        raise InvalidError(f"event_labels has {shown(unknown)}, which {asked} not know", field="event_labels")
    return StillOptions(
        threshold=hello.still_threshold,
        check=hello.still_check,
        event_threshold=hello.event_threshold,
        event_labels=frozenset(hello.event_labels),
    )
