"""What all sections of ``tests/gpu/run.sh`` share: the device, the model, and where its bundles are."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engines.storage.bundle import Bundle, open_bundle
from tests.checkpoints import ODD

VITL: dict[str, Any] = {
    "frames_per_clip": 16,
    "crop_size": 256,
    "num_labels": 174,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_pooler_layers": 3,
    "mlp_ratio": 4.0,
    "initializer_range": 0.02,
}
# Bundle of each way to run the network, by the options of its export.
EXPORTS: dict[str, tuple[str, ...]] = {
    "torch": ("--target", "torch"),
    "torch inductor": ("--target", "torch", "--inductor", "default"),
    "tensorrt-rtx": ("--target", "tensorrt-rtx"),
    "tensorrt": ("--target", "tensorrt"),
}
_PATCH, _TUBELET = 16, 2
# The file of the section that runs in this process.
_rows: Path | None = None


@dataclass(frozen=True)
class Setting:
    """``seconds`` is how long one figure may take to measure."""

    device: str
    small: bool
    work: Path
    results: Path
    seconds: float

    @property
    def model(self) -> dict[str, Any]:
        return ODD if self.small else VITL

    @property
    def checkpoint(self) -> Path:
        return self.work / "checkpoint"

    @property
    def threads(self) -> int:
        """Of the CPU, for engines; a rehearsal shares the machine with others."""
        return 1 if self.small else 0

    @property
    def precision(self) -> str:
        return "fp32" if self.device == "cpu" else "fp16"

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.device == "cpu" else torch.float16

    @property
    def batches(self) -> tuple[int, ...]:
        return (1, 2, 4) if self.small else (1, 2, 4, 8, 16)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of frames."""
        return ((96, 128), (240, 240)) if self.small else ((240, 240), (1080, 1920))

    @property
    def flop(self) -> float:
        """Multiplications and additions for one clip, in the network's matrix products."""
        model = self.model
        width, hidden = model["hidden_size"], model["hidden_size"] * model["mlp_ratio"]
        tokens = model["frames_per_clip"] // _TUBELET * (model["crop_size"] // _PATCH) ** 2
        block = 2 * tokens * width * (4 * width + 2 * tokens + 2 * hidden)
        patches = 2 * tokens * width * 3 * _TUBELET * _PATCH**2
        return float((model["num_hidden_layers"] + model["num_pooler_layers"]) * block + patches)

    def bundle_path(self, name: str) -> Path:
        return self.work / name.replace(" ", "-")

    def bundles(self) -> Iterator[tuple[str, Bundle]]:
        """Those that were built."""
        for name in EXPORTS:
            if (self.bundle_path(name) / "engine.json").is_file():
                yield name, open_bundle(self.bundle_path(name))

    def arguments(self) -> list[str]:
        """As ``parser`` reads them."""
        flags = ["--device", self.device, "--work", str(self.work), "--results", str(self.results)]
        flags += ["--seconds", str(self.seconds)]
        return [*flags, "--small"] if self.small else flags


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser()
    flags.add_argument("--device", default="cuda:0")
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--work", type=Path, default=Path("/tmp/vjepa2-gpu"))
    flags.add_argument("--results", type=Path, default=None)
    flags.add_argument("--seconds", type=float, default=2.0)
    return flags


def setting_of(flags: argparse.Namespace) -> Setting:
    """``--results`` is by default what the environment calls ``OUT``, else ``results`` in ``--work``."""
    results = flags.results or Path(os.environ.get("OUT") or flags.work / "results")
    return Setting(flags.device, flags.small, flags.work, results, flags.seconds)


def setting() -> Setting:
    """From the command line of a section, whose rows go to a file of its name from now on."""
    chosen = setting_of(parser().parse_args())
    spec = sys.modules["__main__"].__spec__
    global _rows
    _rows = chosen.results / f"{spec.name.rpartition('.')[2] if spec else 'rows'}.jsonl"
    _rows.write_text("")
    return chosen


def say(*columns: object) -> None:
    """A row of a table, to be read as it comes; the file gets it at once as a JSON list."""
    print(
        "".join(f"{column:<30}" if not index else f"{column!s:>12}" for index, column in enumerate(columns)), flush=True
    )
    if _rows is not None:
        with _rows.open("a") as file:
            file.write(json.dumps([str(column) for column in columns]) + "\n")
