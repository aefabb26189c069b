"""``vjepa COMMAND [arguments]``: the programs of this package under one name.

Each command is the program of its room (``vjepa serve`` is ``python -m server``) and takes the same arguments.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from commandline.parser import USAGE_ERROR
from commandline.programs import MODULES, STARTED_BY
from commandline.suggestions import did_you_mean
from server.config.version import VERSION

_ABOUT = {
    "serve": "serve an engine bundle over HTTP",
    "export": "turn a checkpoint into a verified engine bundle; list, show, verify and use bundles",
    "consume": "send clips of files, cameras and streams to the service",
    "label": "tell which actions are seen in recordings: a file, a directory, a bucket",
    "teach": "teach a head your own actions from videos of them",
    "evaluate": "tell how right bundles and heads are on labelled videos",
    "demo": "show the whole service at work on one video",
    "doctor": "tell what runs on this machine, what is missing, and how to get it",
}
_HELP = "\n".join(
    (
        "usage: vjepa COMMAND [arguments]",
        "",
        *(f"  {name:<9} {about}" for name, about in _ABOUT.items()),
        "",
        "`vjepa COMMAND --help` explains the arguments of a command; `vjepa --version` prints the version.",
    )
)


def main() -> int:
    """Run the command in ``sys.argv`` and return its exit code; some commands end the process themselves."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_HELP)
        return 0
    if name == "--version":
        print(f"vjepa2-serve {VERSION}")
        return 0
    if name not in MODULES:
        print(f"ERROR there is no command {name}{did_you_mean(name, MODULES)}", file=sys.stderr)
        print("help: `vjepa --help` lists the commands", file=sys.stderr)
        return USAGE_ERROR
    if not sys.argv[0].endswith(".py"):
        # Hints then name this command. As `python -m vjepa` it is no program that a user could type.
        os.environ.setdefault(STARTED_BY, str(Path(sys.argv[0]).absolute()))
    sys.argv = [sys.argv[0], *arguments]
    runpy.run_module(MODULES[name], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
