"""Settings of an export. A flag overrides an environment variable, which overrides the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from commandline.parser import Parser
from commandline.values import integer
from engines.manifest import Precision, Target
from engines.storage.bundle import BUNDLES
from export.targets import PRECISIONS, best_max_batch, best_precision, best_target

DEFAULT_MODEL = "facebook/vjepa2-vitl-fpc16-256-ssv2"

Inductor = Literal["default", "max-autotune"]
Via = Literal["onnx", "torch-tensorrt"]

CALIBRATED: tuple[Precision, ...] = ("int8", "fp8")
_TENSORRT_TARGETS = ("tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class PlanOptions:
    """Options of the TensorRT builder, which tunes batches for ``opt_batch`` (None: the largest).

    No ``workspace_mib`` allows all device memory.
    """

    opt_batch: int | None = None
    opset: int = 20
    optimization_level: int = 3
    workspace_mib: int | None = None
    compute_capabilities: tuple[str, ...] = ()
    hardware_compatible: bool = False
    version_compatible: bool = False
    via: Via = "onnx"


@dataclass(frozen=True)
class ExportSettings:
    """All settings of one export; ``python -m export --help`` explains them."""

    model: str
    target: Target
    precision: Precision
    max_batch: int
    output: Path | None = None
    random_weights: bool = False
    frames: int | None = None
    ignore_unknown_fields: bool = False
    verify: bool = True
    force: bool = False
    trust_writable_bundles: bool = False
    inductor: Inductor | None = None
    calibration: Path | None = None
    plan: PlanOptions = field(default_factory=PlanOptions)

    @property
    def needs_onnx(self) -> bool:
        """Whether the network is written as ONNX rather than as a torch program."""
        return self.target != "torch" and self.plan.via == "onnx"

    @property
    def runs_code(self) -> bool:
        """Whether the export loads a program or plan, which is code, from the directory of the bundle."""
        return self.target != "openvino"

    def output_for(self, model: str) -> Path:
        """Return ``--output``, or ``engines/bundles/MODEL-TARGET-PRECISION`` if it is not given."""
        return self.output or BUNDLES / f"{model.rsplit('/', 1)[-1]}-{self.target}-{self.precision}"


def parse_settings(arguments: Sequence[str] | None = None) -> ExportSettings:
    """Read the settings from the command line and the environment; exits with code 2 for an invalid value."""
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
        frames=flags["frames"],
        ignore_unknown_fields=flags["ignore_unknown_fields"],
        verify=flags["verify"],
        force=flags["force"],
        trust_writable_bundles=flags["trust_writable_bundles"],
        inductor=_inductor(parser, flags, target),
        calibration=_calibration(parser, flags),
        plan=_plan_options(parser, flags, target, max_batch),
    )


def _inductor(parser: Parser, flags: dict[str, Any], target: Target) -> Inductor | None:
    how: Inductor | None = flags["inductor"]
    if how is not None and target != "torch":
        parser.error(f"--inductor {how}: only the torch target supports it, not {target}")
    return how


def _calibration(parser: Parser, flags: dict[str, Any]) -> Path | None:
    videos: Path | None = flags["calibration"]
    if videos is not None and flags["precision"] not in CALIBRATED:
        parser.error(f"--calibration: only --precision {' and '.join(CALIBRATED)} are calibrated")
    return videos


def _plan_options(parser: Parser, flags: dict[str, Any], target: Target, max_batch: int) -> PlanOptions:
    given = {name: flags[name] for name in PlanOptions.__dataclass_fields__ if flags[name] is not None}
    if given and target not in _TENSORRT_TARGETS:
        name, value = next(iter(given.items()))
        flag = "--" + name.replace("_", "-").replace("capabilities", "capability")
        text = "" if value is True else f" {', '.join(value) if isinstance(value, list) else value}"
        parser.error(f"{flag}{text}: only the TensorRT targets support it, not {target}")
    if given.get("opt_batch", 1) > max_batch:
        parser.error(f"--opt-batch {given['opt_batch']}: must be at most --max-batch, which is {max_batch}")
    if target == "tensorrt" and "compute_capabilities" in given:
        wanted = ", ".join(given["compute_capabilities"])
        parser.error(f"--compute-capability {wanted}: only for tensorrt-rtx; tensorrt builds for this machine's GPU")
    if target != "tensorrt" and given.get("via") == "torch-tensorrt":
        parser.error(f"--via torch-tensorrt: only for tensorrt, not {target}")
    if given.get("via") == "torch-tensorrt" and flags["precision"] == "fp8":
        parser.error("--via torch-tensorrt: runs in fp16, bf16, fp32; fp8 takes --via onnx")
    if given.get("opset") == 23 and (flags["precision"] or best_precision(target)) == "fp32":
        parser.error("--opset 23: TensorRT has kernels for its attention in fp16 and bf16, not in fp32; use --opset 20")
    if "compute_capabilities" in given:
        given["compute_capabilities"] = tuple(given["compute_capabilities"])
    return PlanOptions(**given)


def _parser() -> Parser:
    parser = Parser(
        "export",
        env_prefix="VJEPA_EXPORT_",
        description="Turn a V-JEPA 2 video classifier into a verified engine bundle.",
        epilog="Other commands: list, show BUNDLE, verify BUNDLE, use BUNDLE; each explains itself with --help.",
    )
    parser.add(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        help="hub id or local directory of a VJEPA2ForVideoClassification or VJEPA2Model checkpoint, or demo",
    )
    parser.add(
        "--target",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="runtime of the engine; auto takes the best one for this machine",
    )
    parser.add(
        "--precision",
        choices=get_args(Precision),
        help="fp32 for the highest accuracy, int8 (openvino only) or fp8 (GPUs since compute capability 8.9)"
        " for the highest speed; if omitted: the fastest that keeps the answers",
    )
    parser.add(
        "--max-batch",
        type=integer(1, 64),
        metavar="1..64",
        help="most clips in a batch (if omitted: 8 on a GPU, which gains from more, and 1 on a CPU)",
    )
    parser.add(
        "--frames",
        type=integer(2, 128),
        metavar="2..128",
        help="frames of a clip, for a pretrained encoder only, which takes any number: fewer are faster (if omitted: as"
        " many as it was trained with)",
    )
    parser.add(
        "--calibration",
        type=Path,
        metavar="VIDEOS",
        help="for int8 and fp8: a video, or a directory of videos, from your cameras, so that answers stay accurate for"
        " what they record (if omitted: rendered motions)",
    )
    _add_output_flags(parser)
    parser.add(
        "--inductor",
        choices=get_args(Inductor),
        help="for the torch target: compile with torch's Inductor, which fuses the operations between matrix products;"
        " the bundle then runs only on this kind of GPU (or CPU) with this torch release; max-autotune also looks for"
        " faster matrix products, which takes minutes",
    )
    _add_plan_flags(parser.add_argument_group("TensorRT and TensorRT-RTX"))
    return parser


def _add_output_flags(parser: Parser) -> None:
    parser.add(
        "--output",
        type=Path,
        help="bundle directory, if you want to choose the name; if omitted: engines/bundles/MODEL-TARGET-PRECISION",
    )
    parser.add(
        "--random-weights",
        action="store_true",
        help="use random weights and config.json only, to measure speed without the weights; the bundle records this",
    )
    parser.add(
        "--ignore-unknown-fields",
        action="store_true",
        help="export a checkpoint although its config.json or its weights contain what the model does not use, if you"
        " know that this changes no answer; the bundle records what was ignored",
    )
    parser.add(
        "--no-verify",
        dest="verify",
        action="store_false",
        help="do not compute reference answers with the checkpoint: faster, but the bundle can never be verified",
    )
    parser.add(
        "--force", action="store_true", help="build the bundle again even if it exists, when you do not trust it"
    )
    parser.add(
        "--trust-writable-bundles",
        action="store_true",
        help="load torch programs and TensorRT plans, which are code, also where other users may write; only if you"
        " trust all of them",
    )


def _add_plan_flags(group: Any) -> None:
    group.add_argument(
        "--opt-batch",
        type=integer(1, 64),
        metavar="1..64",
        help="batch size that the kernels for several clips are tuned for: choose your usual one (if omitted:"
        " --max-batch); single clips have kernels of their own",
    )
    group.add_argument(
        "--optimization-level",
        type=int,
        choices=range(6),
        help="how long the builder searches for faster kernels: 5 for the last percent of speed, 0 for a quick trial"
        " (if omitted: 3)",
    )
    group.add_argument(
        "--workspace-mib",
        type=integer(1, 1_048_576),
        help="limit of device memory for intermediate results, for a shared GPU",
    )
    group.add_argument(
        "--compute-capability",
        dest="compute_capabilities",
        action="append",
        metavar="X.Y",
        help="GPU that an RTX plan is for, such as 8.9; repeat for several (if omitted: that of this machine, or 8.9)",
    )
    group.add_argument(
        "--hardware-compatible",
        action="store_true",
        default=None,
        help="build a plan that runs on every GPU since Ampere, for different GPUs; somewhat slower",
    )
    group.add_argument(
        "--version-compatible",
        action="store_true",
        default=None,
        help="build a plan that later releases of the same major version can run; somewhat slower, and it contains a"
        " library that is loaded into the service",
    )
    group.add_argument(
        "--opset",
        type=int,
        choices=(20, 23),
        help="23 writes attention as one ONNX node, for TensorRT from 10.14 on, fp16 and bf16, and even head sizes"
        " (if omitted: 20)",
    )
    group.add_argument(
        "--via",
        choices=("onnx", "torch-tensorrt"),
        help="torch-tensorrt compiles the same network without ONNX, for comparison (if omitted: onnx)",
    )
