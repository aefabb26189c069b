"""A clean clone of the repository, and an environment as a newcomer has it: nothing of ours is on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.live_server import ROOT

# The names of the stamps that the recipe _install writes.
_INSTALLED = ("server", "export", "mqtt", "archive", "teach", "export-dev", "test", "dev", "export-gpu-dev")


@dataclass(frozen=True)
class Clone:
    """A clone in ``path`` whose ``.venv`` sees the packages of the tests, so that its recipes install nothing."""

    path: Path

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a login shell, with the system's programs only, and ``more``."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TERM", "TMPDIR") if name in os.environ}
        coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        return kept | coverage | {"PATH": "/usr/local/bin:/usr/bin:/bin"} | more

    def run(self, command: str | Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
        """``command``, a line of a shell or a program with its arguments, in the clone; ``more`` are variables."""
        words = ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else [*command]
        return subprocess.run(
            words,
            cwd=self.path,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def clone_into(path: Path) -> Clone:
    """What ``git clone`` would bring if the working tree were committed, and a ``.venv`` with ``just`` in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    environment = make_environment(path / ".venv")
    shutil.copy2(Path(sys.executable).parent / "just", environment / "bin/just")
    digest = subprocess.run("cat pyproject.toml requirements.lock | cksum", shell=True, cwd=path, capture_output=True)
    for name in _INSTALLED:
        (environment / f".installed-{name}").write_bytes(digest.stdout)
    return Clone(path)


def make_environment(path: Path) -> Path:
    """A virtual environment that sees the packages of this interpreter's environment after its own."""
    venv.create(path, symlinks=True, with_pip=False)
    (packages,) = path.glob("lib/python*/site-packages")
    (packages / "packages_of_the_tests.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
    )
    return path
