"""What a hello asks for, checked and with the defaults that depend on the model."""

from __future__ import annotations

from engines.manifest import Manifest
from server.api.stream_messages import Hello
from server.errors import InvalidError, shown
from server.streams.options import StillOptions, StreamOptions


def options_of(hello: Hello, manifest: Manifest) -> StreamOptions:
    """Raises InvalidError for labels that the model does not have."""
    return StreamOptions(
        name=hello.name or "stream",
        fps=hello.fps,
        stride=hello.stride or manifest.frames,
        max_gap_s=hello.max_gap_s or max(1.5 / hello.fps, 0.5),
        policy=hello.policy,
        pixel_format=hello.format,
        weight=hello.weight,
        still=_still(hello, manifest.labels) if hello.still == "skip" else None,
    )


def _still(hello: Hello, labels: tuple[str, ...]) -> StillOptions:
    unknown = next((label for label in hello.event_labels if label not in labels), None)
    if unknown is not None:
        raise InvalidError(f"event_labels has {shown(unknown)}, which the model does not know", field="event_labels")
    return StillOptions(
        threshold=hello.still_threshold,
        check=hello.still_check,
        event_threshold=hello.event_threshold,
        event_labels=frozenset(hello.event_labels),
    )
