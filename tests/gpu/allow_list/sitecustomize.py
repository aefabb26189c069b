"""Admits only the packages of a GPU machine, in every process that has this directory on its ``PYTHONPATH``."""

from __future__ import annotations

import importlib.abc
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_LISTS = (Path(__file__).with_name("installed.txt"), Path(__file__).parents[1] / "wheels.txt")


class _OnlyAllowed(importlib.abc.MetaPathFinder):
    """Finds what ``PathFinder`` finds, except modules and metadata of other distributions."""

    def __init__(self, allowed: set[str]) -> None:
        self._allowed = allowed
        modules = metadata.packages_distributions().items()
        self._refused = {name for name, owners in modules if not allowed & {_plain(owner) for owner in owners}}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        refused = fullname.partition(".")[0] in self._refused
        return None if refused else PathFinder.find_spec(fullname, path, target)

    def find_distributions(self, context: metadata.DistributionFinder.Context) -> Iterator[metadata.Distribution]:
        found = PathFinder.find_distributions(context)
        return (one for one in found if _plain(one.metadata["Name"]) in self._allowed)

    def invalidate_caches(self) -> None:
        PathFinder.invalidate_caches()


def _plain(name: str) -> str:
    """The name of a distribution in the form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _listed() -> Iterator[str]:
    for file in _LISTS:
        lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
        yield from (_plain(line) for line in lines if line)


def _with_requirements(names: Iterator[str]) -> set[str]:
    """``names`` and all that they require without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [
            _plain(re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0]) for one in required if "extra ==" not in one
        ]
    return found


# The project itself may be installed for editing, which pip does with a finder of its own.
_allowed = _with_requirements(_listed()) | {"vjepa2-serve", "pip", "setuptools"}
sys.meta_path[sys.meta_path.index(PathFinder)] = _OnlyAllowed(_allowed)
