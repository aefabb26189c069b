"""Reads a traced torch program (.pt2), and refuses Python objects (pickles) inside it, which run code when read."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive.constants import CONSTANTS_CONFIG_FILENAME_FORMAT, TENSOR_CONSTANT_FILENAME_PREFIX

from engines.errors import BundleUnsupportedError

_ONLY_TENSORS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_ANY_OBJECT = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def load_program(path: Path) -> torch.export.ExportedProgram:
    """The program in ``path``, of which torch unpickles tensors and nothing else.

    Raises:
        BundleUnsupportedError: the file contains other Python objects.
        RuntimeError, OSError: torch cannot read the file.
    """
    try:
        with _only_tensors():
            _check_constants(path)
            return torch.export.load(path)
    except pickle.UnpicklingError:
        raise _refused(path) from None


@contextlib.contextmanager
def _only_tensors() -> Iterator[None]:
    """Make every ``torch.load`` of the block refuse what is not a tensor, also where torch asks for any object.

    ``torch.export.load`` reads tensors with ``weights_only=True`` and, where that fails, again without.
    """
    before = {name: os.environ.pop(name, None) for name in (_ONLY_TENSORS, _ANY_OBJECT)}
    os.environ[_ONLY_TENSORS] = "1"
    try:
        yield
    finally:
        del os.environ[_ONLY_TENSORS]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _check_constants(path: Path) -> None:
    """Raises BundleUnsupportedError for constants that torch unpickles without ``torch.load``."""
    start, end = CONSTANTS_CONFIG_FILENAME_FORMAT.split("{}")
    with PT2ArchiveReader(os.fspath(path)) as archive:
        for name in archive.get_file_names():
            if name.startswith(start) and name.endswith(end):
                constants = json.loads(archive.read_string(name))["config"].values()
                if any(not one["path_name"].startswith(TENSOR_CONSTANT_FILENAME_PREFIX) for one in constants):
                    raise _refused(path)


def _refused(path: Path) -> BundleUnsupportedError:
    return BundleUnsupportedError(
        f"{path} contains Python objects, which could run any code; accepted: a program of tensors only",
        help="export the model again, and find out who wrote this file",
    )
