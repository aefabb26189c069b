"""Programs in the tests' own process, without the seconds that starting Python and importing torch take."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from unittest import mock


def run_here(module: str, *arguments: str, errors: io.StringIO | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments`` as a user gives it; what it does not handle is raised here.

    ``errors`` takes the place of standard error.
    """
    output, errors = io.StringIO(), errors or io.StringIO()
    with (
        mock.patch.object(sys, "argv", [module, *arguments]),
        mock.patch.dict(os.environ),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        _own_logging(),
    ):
        code = 0
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    """Take back what a program sets on the root logger, which the tests after it share."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
