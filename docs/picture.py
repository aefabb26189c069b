"""``python docs/picture.py [FILE]``: draws docs/images/demo.svg from what ``just demo`` prints."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/images/demo.svg"
DEMO = ("-m", "export.demo.show")
COLUMNS = 92

# Without rich's web fonts: a picture asks nobody for anything. Viewers have a monospaced font.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main(place: Path) -> None:
    shown = subprocess.run([sys.executable, *DEMO], capture_output=True, text=True, cwd=ROOT, check=True)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.assemble(("$ ", "dim"), (".venv/bin/just demo", "bold")))
    for line in shown.stdout.splitlines():
        console.print(_coloured(line))
    place.write_text(console.export_svg(title="vjepa2-serve", code_format=FORMAT))


def _coloured(line: str) -> Text:
    text = Text(line)
    text.highlight_regex(r"#+", "green")
    text.highlight_regex(r"^Right.*", "bold green")
    text.highlight_regex(r"^(video|serving|model)", "dim")
    text.highlight_regex(r"[0-9.]+%", "bold")
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
