"""What the documents name exists."""

from __future__ import annotations

import re

from tests.live_server import ROOT


def test_every_promise_s_test_exists() -> None:
    document = (ROOT / "docs/reliability.md").read_text()
    files = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`(test_\w+(?:\.py)?)`", document))
    assert len(named) > 20
    source = "\n".join(files.values())
    missing = {name for name in named if name not in files and f"def {name}(" not in source}
    assert not missing
