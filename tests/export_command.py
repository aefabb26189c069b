"""``python -m export`` without the seconds that starting Python and importing torch take."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

from export.__main__ import main


def run_export(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user gives it, in the tests' own process; what it does not handle is raised here."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["export", *arguments]),
        mock.patch.dict(os.environ),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            code = main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())
