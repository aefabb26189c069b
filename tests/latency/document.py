"""Puts what was measured into a document, between its two marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.latency.tables import Table

_BEGIN = "<!-- measured by just bench -->"
_END = "<!-- end of what was measured -->"


def update_document(path: Path, machines: Iterable[str], tables: Sequence[Table]) -> None:
    """Replace what is between the marks of ``path``; raises ValueError when it has none."""
    text = path.read_text()
    if _BEGIN not in text or _END not in text:
        raise ValueError(f"{path} has no {_BEGIN} and {_END}")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    blocks = [
        _BEGIN,
        *(f"Measured on {machine}." for machine in machines),
        *(table.markdown() for table in tables),
        _END,
    ]
    path.write_text(before + "\n\n".join(block.strip() for block in blocks) + after)
