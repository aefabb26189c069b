"""How the parts of this installation that are optional are installed."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from commandline.programs import typed

DISTRIBUTION = "vjepa2-serve"


def install_command(extra: str) -> str:
    """The command that adds the extra ``extra`` to the environment of this interpreter."""
    return f"{typed(Path(sys.executable))} -m pip install {_requirement(extra)}"


def _requirement(extra: str) -> str:
    """What pip takes to install this distribution from where it came (PEP 610), with ``extra``."""
    try:
        recorded = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        recorded = {}
    url = urlsplit(recorded.get("url", ""))
    if url.scheme == "file":
        path = Path(unquote(url.path))
        editable = "--editable " if recorded.get("dir_info", {}).get("editable") else ""
        return f"{editable}'{'.' if path == Path.cwd() else path}[{extra}]'"
    return f"'{DISTRIBUTION}[{extra}]{f' @ {url.geturl()}' if url.scheme else ''}'"
