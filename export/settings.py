"""What is exported, for what, and where to: flag before environment before default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import configargparse

from engines.manifest import Precision, Target
from engines.storage.bundle import BUNDLES
from export.targets import PRECISIONS, best_max_batch, best_precision, best_target

DEFAULT_MODEL = "facebook/vjepa2-vitl-fpc16-256-ssv2"

Inductor = Literal["default", "max-autotune"]
Via = Literal["onnx", "torch-tensorrt"]

_TENSORRT_TARGETS = ("tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class PlanOptions:
    """How TensorRT builds; ``opt_batch`` is the batch that it is tuned for, ``workspace_mib`` None is all there is."""

    opt_batch: int = 1
    opset: int = 20
    optimization_level: int = 3
    workspace_mib: int | None = None
    compute_capabilities: tuple[str, ...] = ()
    hardware_compatible: bool = False
    version_compatible: bool = False
    via: Via = "onnx"


@dataclass(frozen=True)
class ExportSettings:
    """See ``python -m export --help``."""

    model: str
    target: Target
    precision: Precision
    max_batch: int
    output: Path | None = None
    random_weights: bool = False
    verify: bool = True
    force: bool = False
    inductor: Inductor | None = None
    calibration: Path | None = None
    plan: PlanOptions = field(default_factory=PlanOptions)

    @property
    def needs_onnx(self) -> bool:
        """Whether the network goes through ONNX, not through a torch program."""
        return self.target != "torch" and self.plan.via == "onnx"

    def output_for(self, model: str) -> Path:
        """``--output``, or ``engines/bundles/MODEL-TARGET-PRECISION``."""
        return self.output or BUNDLES / f"{model.rsplit('/', 1)[-1]}-{self.target}-{self.precision}"


def parse_settings(arguments: Sequence[str] | None = None) -> ExportSettings:
    """Settings from the command line and the environment; exits with code 2 on what cannot be used."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    target: Target = best_target() if flags["target"] == "auto" else flags["target"]
    if flags["precision"] not in (None, *PRECISIONS[target]):
        parser.error(f"--precision {flags['precision']}: {target} runs in {', '.join(PRECISIONS[target])}")
    max_batch = flags["max_batch"] or best_max_batch(target)
    return ExportSettings(
        model=flags["model"],
        target=target,
        precision=flags["precision"] or best_precision(target),
        max_batch=max_batch,
        output=flags["output"],
        random_weights=flags["random_weights"],
        verify=flags["verify"],
        force=flags["force"],
        inductor=_inductor(parser, flags, target),
        calibration=_calibration(parser, flags),
        plan=_plan_options(parser, flags, target, max_batch),
    )


def _inductor(parser: configargparse.ArgParser, flags: dict[str, Any], target: Target) -> Inductor | None:
    how: Inductor | None = flags["inductor"]
    if how is not None and target != "torch":
        parser.error(f"--inductor: only the torch target has it, not {target}")
    return how


def _calibration(parser: configargparse.ArgParser, flags: dict[str, Any]) -> Path | None:
    videos: Path | None = flags["calibration"]
    if videos is not None and flags["precision"] != "int8":
        parser.error("--calibration: only --precision int8 is calibrated")
    return videos


def _plan_options(
    parser: configargparse.ArgParser, flags: dict[str, Any], target: Target, max_batch: int
) -> PlanOptions:
    given = {name: flags[name] for name in PlanOptions.__dataclass_fields__ if flags[name] is not None}
    if given and target not in _TENSORRT_TARGETS:
        flag = "--" + next(iter(given)).replace("_", "-").replace("capabilities", "capability")
        parser.error(f"{flag}: only the TensorRT targets have it, not {target}")
    if given.get("opt_batch", 1) > max_batch:
        parser.error(f"--opt-batch {given['opt_batch']}: at most --max-batch, which is {max_batch}")
    if target == "tensorrt" and "compute_capabilities" in given:
        wanted = ", ".join(given["compute_capabilities"])
        parser.error(f"--compute-capability {wanted}: only for tensorrt-rtx; tensorrt builds for this machine's GPU")
    if target != "tensorrt" and given.get("via") == "torch-tensorrt":
        parser.error(f"--via torch-tensorrt: only for tensorrt, not {target}")
    if "compute_capabilities" in given:
        given["compute_capabilities"] = tuple(given["compute_capabilities"])
    return PlanOptions(**given)


def _parser() -> configargparse.ArgParser:
    parser = configargparse.ArgParser(
        prog="python -m export",
        description="Turn a V-JEPA 2 video classifier into a verified engine bundle.",
        epilog="Also: `python -m export list` (bundles built here), `show BUNDLE`, `verify BUNDLE`.",
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
        choices=get_args(Precision),
        help="fp32 when the last digits matter more than speed, int8 the other way round (openvino only); left out: the"
        " fastest that keeps the answers",
    )
    parser.add(
        "--max-batch",
        type=int,
        choices=range(1, 65),
        metavar="1..64",
        help="clips per run; more pays off on a GPU (left out: 8), on a CPU 1 is the fastest (left out: 1)",
    )
    parser.add(
        "--calibration",
        type=Path,
        metavar="VIDEOS",
        help="for int8: a video or a directory of them as your cameras see them, so that what is lost is lost elsewhere"
        " (left out: rendered motions)",
    )
    _add_output_flags(parser)
    parser.add(
        "--inductor",
        choices=get_args(Inductor),
        help="for the torch target: compile it for this machine's device with torch's Inductor, which fuses what lies"
        " between the matrix products; the bundle then runs on this kind of GPU with this torch only; max-autotune also"
        " looks for faster products, for minutes",
    )
    _add_plan_flags(parser.add_argument_group("TensorRT and TensorRT-RTX"))
    return parser


def _add_output_flags(parser: configargparse.ArgParser) -> None:
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
        help="skip asking the checkpoint for reference answers: quicker, but nobody can ever check the bundle",
    )
    parser.add(
        "--force", action="store_true", help="build again what is built already, when you do not trust what is there"
    )


def _add_plan_flags(group: Any) -> None:
    group.add_argument(
        "--opt-batch",
        type=int,
        choices=range(1, 65),
        metavar="1..64",
        help="batch that kernels are tuned for: that of your usual load (left out: 1, for the lowest latency)",
    )
    group.add_argument(
        "--optimization-level",
        type=int,
        choices=range(6),
        help="how long the builder looks for faster kernels: 5 for the last percent, 0 to try something out"
        " (left out: 3)",
    )
    group.add_argument(
        "--workspace-mib", type=int, help="most device memory for intermediate results, when others share the GPU"
    )
    group.add_argument(
        "--compute-capability",
        dest="compute_capabilities",
        action="append",
        metavar="X.Y",
        help="GPU that an RTX plan is for, 8.9 for instance; repeat for several (left out: this machine's, or 8.9)",
    )
    group.add_argument(
        "--hardware-compatible",
        action="store_true",
        default=None,
        help="a plan that runs on every GPU since Ampere, somewhat slower: for mixed fleets",
    )
    group.add_argument(
        "--version-compatible",
        action="store_true",
        default=None,
        help="a plan that later releases of the same major version can run, somewhat slower",
    )
    group.add_argument(
        "--opset",
        type=int,
        choices=(20, 23),
        help="23 writes attention as one ONNX node, which TensorRT reads from 10.14 on (left out: 20)",
    )
    group.add_argument(
        "--via",
        choices=("onnx", "torch-tensorrt"),
        help="torch-tensorrt compiles the same network without ONNX, to compare the two (left out: onnx)",
    )
