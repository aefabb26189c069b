"""``engine.json``: the model, source, target and build of a bundle, and the hashes of its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

FORMAT_VERSION = 3
# Format 2 has no log-odds in the verification and no peaks in the stage errors.
READ_VERSIONS = (2, FORMAT_VERSION)
FILE_NAME = "engine.json"

Target = Literal["openvino", "tensorrt", "tensorrt-rtx", "torch"]
Precision = Literal["fp32", "bf16", "fp16", "fp8", "int8"]
Positive = Annotated[int, Meta(gt=0)]
FeatureKind = Literal["tubelet_means", "tubelet_maxima", "pooled"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The oldest generation on which TensorRT runs hardware-compatible plans, by its major compute capability.
_AMPERE = 8


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value of the manifest. Unknown fields are refused: a reader that ignores one might serve the bundle wrongly."""


class Source(Record, frozen=True):
    """The checkpoint: hub id or directory name, hub revision if any, SHA-256 over its config and weights.

    ``ignored``: fields of its configuration and names of weights that the network does not use, accepted by the user.
    It is absent where there are none, so that the digests of manifests without it do not change.
    """

    model: str
    revision: str | None
    sha256: str
    random_weights: bool = False
    ignored: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET

    def ignores(self) -> str:
        """``ignored`` for people, at most four of them; empty where there are none."""
        names = self.ignored or ()
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


@dataclass(frozen=True)
class Preprocessing:
    """The network's input: short edge and square crop in pixels, mean and std of the RGB channels.

    A channel of ``level`` (0 to 255) becomes (level / 255 - mean) / std, which covers other scales too.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Tensor(Record, frozen=True):
    """A network input or output: ``clip_shape`` is its shape without the first dimension, the batch."""

    name: str
    dtype: Literal["float32", "float16"]
    clip_shape: tuple[int, ...]


class FeaturePart(Record, frozen=True):
    """``size`` features of one kind.

    ``tubelet_means`` and ``tubelet_maxima``: the mean and the largest value, over the patches of a tubelet of frames,
    of each feature of the encoder's tokens; one tubelet after the other. ``pooled``: the output of the classifier's
    pooler.
    """

    kind: FeatureKind
    size: Positive


class Features(Record, frozen=True):
    """The output that describes a clip by ``output.clip_shape[0]`` numbers, and the parts that these consist of."""

    output: Tensor
    parts: tuple[FeaturePart, ...]

    @property
    def size(self) -> int:
        """The number of features of a clip."""
        return self.output.clip_shape[0]


class Device(Record, frozen=True):
    """The device that the network was compiled for; ``compute_capabilities`` (``9.0``) only for CUDA."""

    name: str
    compute_capabilities: tuple[str, ...] = ()


class Verification(Record, frozen=True, omit_defaults=True):
    """The result of comparing the bundle's answers with the checkpoint's in FP32 on one device.

    ``clips`` counts every comparison: each clip alone, and clips in batches of up to ``max_batch``. ``log_odds_spread``
    (in nats) is how far the checkpoint's answers differ between clips; ``log_odds_error`` and ``log_odds_tolerance``
    are shares of it. Manifests of format 2 lack them, and they are not encoded for these, so old digests stay valid.
    ``features_error`` is the largest deviation of a part of the features of a clip, relative to that part's norm; it is
    absent for networks without features, as are the figures of probabilities for networks without labels.
    """

    device: str
    clips: Positive
    precision: Precision
    max_abs_probability_error: float | None
    tolerance: float | None
    top1_agreement: float | None
    top5_agreement: float | None
    log_odds_spread: float | None = None
    log_odds_error: float | None = None
    log_odds_tolerance: float | None = None
    features_error: float | None = None
    features_tolerance: float | None = None


class StageError(Record, frozen=True, omit_defaults=True):
    """How far a stage's output is from its output in FP32, on the worst reference clip; errors accumulate.

    ``relative_error`` is the largest deviation relative to the largest value. ``worst_token`` is the deviation of the
    worst token relative to that token's norm. ``peak`` is the largest value inside the stage in FP32.
    """

    stage: str
    relative_error: float
    worst_token: float | None = None
    peak: float | None = None


class BundleFile(Record, frozen=True):
    """A file of the bundle; ``name`` has no directory part."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    size_bytes: int
    sha256: str


class Manifest(Record, frozen=True):
    """The whole of ``engine.json``.

    ``recipe`` is a digest of all inputs and tools of the build; ``options`` are the compiler's.
    ``verification`` is None until the bundle was verified on its target device. A pretrained encoder has no
    ``network_output`` and no labels, only features. ``features`` is absent in bundles of earlier exports.
    """

    format_version: int
    name: str
    source: Source
    labels: tuple[str, ...]
    frames: Positive
    preprocessing: Preprocessing
    target: Target
    precision: Precision
    max_batch: Positive
    network_input: Tensor
    network_output: Tensor | None
    device: Device
    built_at: str
    built_with: dict[str, str]
    recipe: str
    options: dict[str, bool | int | str]
    verification: Verification | None
    stage_errors: tuple[StageError, ...] = ()
    files: tuple[BundleFile, ...] = ()
    digest: str = ""
    features: Features | msgspec.UnsetType = msgspec.UNSET

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """All outputs of the network in their order: probabilities, features."""
        features = self.features.output if self.features else None
        return tuple(output for output in (self.network_output, features) if output is not None)

    def features_identity(self) -> str | None:
        """SHA-256 of all that the features of a clip depend on; None without features.

        The precision and the target are no part of it, because they only round the same features.
        """
        if not self.features:
            return None
        parts = [(part.kind, part.size) for part in self.features.parts]
        known = (self.source.sha256, self.source.random_weights, self.frames, self.preprocessing, parts)
        return hashlib.sha256(msgspec.json.encode(known, order="deterministic")).hexdigest()

    def sealed(self) -> Manifest:
        """The same manifest with ``digest`` set, so that a later change of any field is detected."""
        return msgspec.structs.replace(self, digest=self.expected_digest())

    def expected_digest(self) -> str:
        """SHA-256 of the canonical JSON of all fields except ``digest``."""
        unsealed = msgspec.structs.replace(self, digest="")
        return hashlib.sha256(msgspec.json.encode(unsealed, order="deterministic")).hexdigest()

    def fits(self, compute_capability: str) -> bool:
        """Whether the plan may run on a GPU of ``compute_capability`` (``9.0``), as far as the manifest tells."""
        if self.options.get("hardware_compatible"):
            return int(compute_capability.partition(".")[0]) >= _AMPERE
        return not self.device.compute_capabilities or compute_capability in self.device.compute_capabilities

    def content_sha256(self) -> str:
        """The digest by which an operator names the bundle: of all fields and, through ``files``, of all files.

        It does not cover ``verification``, which a machine adds when it first runs the bundle.
        """
        return msgspec.structs.replace(self, verification=None).expected_digest()


def encode(manifest: Manifest) -> bytes:
    """The manifest as indented UTF-8 JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(text: bytes) -> Manifest:
    """The manifest in ``text``; raises msgspec.DecodeError if it is not one."""
    return msgspec.json.decode(text, type=Manifest)


class _Version(msgspec.Struct):
    format_version: int


def decode_format_version(text: bytes) -> int:
    """Only the version, a field of every past and future format; raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=_Version).format_version
