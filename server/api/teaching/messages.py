"""The answers of ``/api/v1/teaching``; their docstrings are part of the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from engines.linear_heads.head import Head
from engines.linear_heads.manifest import Report
from server.teaching.examples import Example, Examples
from server.teaching.process import Progress
from server.teaching.teacher import Lesson, draft_name


class KeptExample(msgspec.Struct):
    """A video, or the frames of a camera's window."""

    name: str
    size_bytes: int


class Action(msgspec.Struct):
    """An action that is taught, with its examples; `background` is what is none of the others."""

    name: str
    examples: list[KeptExample]


class TaughtHead(msgspec.Struct):
    """A head and the report of its held-out clips; ``name`` is what to ask for as `head` to try it."""

    name: str
    labels: list[str]
    taught_at: str
    threshold: Annotated[float, Meta(description="Clips that are less familiar are answered with `unknown`.")]
    report: Report


class HeadInTeaching(msgspec.Struct, kw_only=True):
    """A head with its examples; ``is_taught`` while the process runs, and ``progress`` from its first part on.

    ``error`` says why it could not be taught. ``draft`` is what was taught, until it is kept or thrown away.
    """

    name: str
    actions: list[Action]
    is_taught: bool
    progress: Progress | None
    error: str | None
    draft: TaughtHead | None


class Teaching(msgspec.Struct, kw_only=True):
    """What is taught, and the heads in service; ``missing`` says what has to be installed before that."""

    missing: str | None
    teaching: list[HeadInTeaching]
    heads: list[TaughtHead]


def taught(name: str, head: Head) -> TaughtHead:
    manifest = head.manifest
    return TaughtHead(name, list(head.labels), manifest.taught_at, manifest.rejection.threshold, manifest.report)


def in_teaching(name: str, examples: Examples, lesson: Lesson, draft: Head | None) -> HeadInTeaching:
    """Reads the disk."""
    process = lesson.process
    return HeadInTeaching(
        name=name,
        actions=[Action(action, [kept(each) for each in found]) for action, found in examples.of(name).items()],
        is_taught=process is not None,
        progress=None if process is None else process.progress,
        error=lesson.error,
        draft=None if draft is None else taught(draft_name(name), draft),
    )


def kept(example: Example) -> KeptExample:
    return KeptExample(example.name, example.size_bytes)
