"""Videos whose actions are known: a directory for each action, or the files of Something-Something."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec

from archive.errors import InputError
from video.images import IMAGE_SUFFIXES
from video.names import is_video_name, natural_key

logger = logging.getLogger(__name__)

LAYOUT = "accepted: DIR/ACTION/VIDEO, where a video is a file or a directory of images"


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """``path`` is a video file or a directory of images, which shows the action ``label``."""

    path: Path
    label: str


class _Annotation(msgspec.Struct):
    """An entry of Something-Something's files; ``template`` names the action, with placeholders in brackets."""

    id: str
    template: str


def labelled_videos(directory: Path) -> list[LabelledVideo]:
    """The videos in ``directory``, which holds a directory for each action; hidden files are left out.

    Raises:
        InputError: there is no such directory, or it holds no action, or one of its actions has no video.
    """
    actions = _entries(directory, [path for path in _listed(directory) if path.is_dir()])
    if not actions:
        raise InputError(f"{directory} holds no directory, so no action", LAYOUT)
    return [video for action in actions for video in videos_of(action, action.name)]


def videos_of(directory: Path, label: str) -> list[LabelledVideo]:
    """The videos in ``directory``, which all show ``label``. Raises InputError where there is none."""
    videos = [path for path in _entries(directory, _listed(directory)) if _is_video(path)]
    if not videos:
        raise InputError(f"there is no video in {directory}", LAYOUT)
    return [LabelledVideo(path, label) for path in videos]


def something_something(videos: Path, annotations: Path) -> list[LabelledVideo]:
    """The videos ``videos``/ID.webm that ``annotations`` (validation.json) names, with their templates as labels.

    Files that are missing are counted in a warning.

    Raises:
        InputError: the annotations cannot be read, or none of their videos is there.
    """
    try:
        entries = msgspec.json.decode(annotations.read_bytes(), type=list[_Annotation])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"cannot read {annotations}: {getattr(error, 'strerror', None) or error}",
            "give the file with the validation split, a JSON list of objects with id and template",
        ) from None
    found = [LabelledVideo(videos / f"{entry.id}.webm", plain(entry.template)) for entry in entries]
    there = [video for video in found if video.path.is_file()]
    if not there:
        raise InputError(
            f"none of the {len(found)} videos of {annotations} is in {videos}", "give the directory of ID.webm"
        )
    if len(there) < len(found):
        logger.warning("videos are missing", extra={"missing": len(found) - len(there), "annotated": len(found)})
    return there


def plain(label: str) -> str:
    """``label`` without the brackets of Something-Something's templates."""
    return label.replace("[", "").replace("]", "")


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError as error:
        raise InputError(f"cannot list {directory}: {(error.strerror or str(error)).lower()}", LAYOUT) from None


def _entries(directory: Path, paths: list[Path]) -> list[Path]:
    """``paths`` in ``directory`` that are not hidden, in the order of their names."""
    return sorted((path for path in paths if not path.name.startswith(".")), key=lambda path: natural_key(path.name))


def _is_video(path: Path) -> bool:
    """Whether ``path`` is a video file, even one that cannot be read, or a directory of images."""
    if path.is_dir():
        return any(each.suffix.lower() in IMAGE_SUFFIXES for each in path.iterdir())
    return is_video_name(path.name)
