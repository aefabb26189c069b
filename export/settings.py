"""What is exported, for what, and where to: flag before environment before default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import configargparse

from engines.bundle import BUNDLES
from engines.manifest import Precision, Target

DEFAULT_MODEL = "facebook/vjepa2-vitl-fpc16-256-ssv2"

# What this version can compile for, each with its precisions; the first is the fallback.
PRECISIONS: dict[Target, tuple[Precision, ...]] = {"openvino": ("fp32", "bf16")}


@dataclass(frozen=True)
class ExportSettings:
    """See ``python -m export --help``; ``precision`` None is the best that this machine runs the target in."""

    model: str = DEFAULT_MODEL
    target: Target = "openvino"
    precision: Precision | None = None
    max_batch: int = 1
    output: Path | None = None
    random_weights: bool = False
    verify: bool = True

    def output_for(self, model: str, precision: Precision) -> Path:
        """``--output``, or ``engines/bundles/MODEL-TARGET-PRECISION``."""
        return self.output or BUNDLES / f"{model.rsplit('/', 1)[-1]}-{self.target}-{precision}"


def parse_settings(arguments: Sequence[str] | None = None) -> ExportSettings:
    """Settings from the command line and the environment; exits with code 2 on what cannot be used."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    target: Literal["openvino"] = "openvino"
    if flags["precision"] not in (None, *PRECISIONS[target]):
        parser.error(f"--precision {flags['precision']}: {target} runs in {' or '.join(PRECISIONS[target])}")
    return ExportSettings(**flags | {"target": target})


def _parser() -> configargparse.ArgParser:
    parser = configargparse.ArgParser(
        prog="python -m export",
        description="Turn a V-JEPA 2 video classifier into a verified engine bundle.",
        auto_env_var_prefix="VJEPA_EXPORT_",
        formatter_class=configargparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        help="hub id, local checkpoint directory, or demo; any VJEPA2ForVideoClassification",
    )
    parser.add(
        "--target",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="what the engine will run on; auto takes the best that this machine has",
    )
    parser.add(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="fp32 when the last digits matter more than speed; left out: bf16 where this machine computes in it",
    )
    _add_output_flags(parser)
    return parser


def _add_output_flags(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--max-batch",
        type=int,
        choices=range(1, 65),
        metavar="1..64",
        default=ExportSettings.max_batch,
        help="clips per run; more pays off on a GPU, on a CPU 1 is the fastest",
    )
    parser.add(
        "--output",
        type=Path,
        help="bundle directory, for a name of your own; left out: engines/bundles/MODEL-TARGET-PRECISION",
    )
    parser.add(
        "--random-weights",
        action="store_true",
        help="architecture from config.json alone, to measure speed without the weights; the bundle says so",
    )
    parser.add(
        "--no-verify",
        dest="verify",
        action="store_false",
        help="skip comparing the bundle with the checkpoint, which takes memory for both",
    )
