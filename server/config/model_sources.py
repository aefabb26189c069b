"""Which models are served: their names, their bundles and their weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from commandline.values import number
from engines import manifest as manifests
from engines.storage.bundle import bundles_in, find_bundle

LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})=(.+)")


@dataclass(frozen=True)
class ModelSource:
    """The bundle in ``path``, which is served as ``name``.

    ``weight``: its share of a device beside other models. ``is_only``: it is served alone and was given no name, so
    that ``/v2`` calls it by the name in its manifest.
    """

    name: str
    path: Path
    weight: float = 1.0
    is_only: bool = False


def source_of(path: Path) -> ModelSource:
    """The bundle in ``path``, served alone under the name of its directory."""
    return ModelSource(_directory_name(path), path, is_only=True)


def read_sources(texts: Sequence[str]) -> tuple[tuple[ModelSource, ...], tuple[Path, ...]]:
    """The models that ``texts`` name, in their order, and the directories of bundles among them.

    A text is ``NAME=PATH``, a bundle, or a directory of bundles, which are taken in the order of their names. Raises
    ValueError if two models would have one name.
    """
    directories = tuple(Path(text) for text in texts if _is_directory_of_bundles(text))
    sources = [source for text in texts for source in _sources(text)]
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            paths = " and ".join(str(one.path) for one in sources if one.name == source.name)
            raise ValueError(f"{paths} are both named {source.name}; give one of them another name, as in NAME=PATH")
    if len(sources) == 1 and not directories and sources[0].path == find_bundle(texts[0]):
        sources = [replace(sources[0], is_only=True)]
    return tuple(sources), directories


def read_weights(text: str) -> dict[str, float]:
    """The weights of ``NAME=WEIGHT`` between commas; raises ValueError or argparse.ArgumentTypeError."""
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, weight = part.rpartition("=")
        if not equals or name in weights:
            raise ValueError(f"{part!r} is not NAME=WEIGHT with a name that is there once")
        weights[name] = number(LEAST_WEIGHT, MOST_WEIGHT)(weight)
    return weights


def weighted(sources: Sequence[ModelSource], weights: Mapping[str, float]) -> tuple[ModelSource, ...]:
    """``sources`` with their ``weights``; raises ValueError for the name of none of them."""
    names = [source.name for source in sources]
    for name in weights:
        if name not in names:
            raise ValueError(f"there is no model {name}; the models are {', '.join(names)}")
    return tuple(replace(source, weight=weights.get(source.name, 1.0)) for source in sources)


def found_in(directories: Sequence[Path]) -> Iterator[ModelSource]:
    """The bundles that are in ``directories`` now, by their names."""
    for directory in directories:
        for path in sorted(bundles_in(directory)):
            yield ModelSource(path.name, path)


def _sources(text: str) -> Iterator[ModelSource]:
    named = _NAMED.fullmatch(text)
    if named and not Path(text).exists():
        yield ModelSource(named[1], find_bundle(named[2]))
    elif _is_directory_of_bundles(text):
        yield from found_in([Path(text)])
    else:
        path = find_bundle(text)
        yield ModelSource(_directory_name(path), path)


def _is_directory_of_bundles(text: str) -> bool:
    path = Path(text)
    return path.is_dir() and not (path / manifests.FILE_NAME).exists() and bool(bundles_in(path))


def _directory_name(path: Path) -> str:
    """Of the directory itself, also for ``.`` and ``..``; a link keeps its own name."""
    return path.name if path.name not in ("", "..") else path.resolve().name
