"""``head.json``: what a head was taught, on which network, and how well it does."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from engines.manifest import Record

FORMAT_VERSION = 1
FILE_NAME = "head.json"
WEIGHTS_FILE_NAME = "weights.npz"
MOST_LABELS = 4096
LONGEST_LABEL = 256
UNKNOWN = "unknown"
# What asks for the answers of all heads, and labels and names that would be mistaken for something else.
ALL = "all"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


class Rejection(Record, frozen=True):
    """When a clip is answered with ``unknown``: its familiarity is below ``threshold``.

    Familiarity is the smaller of two scores. One is the negative distance, in the space of the head, to the nearest
    clip that was taught. The other, of heads that were taught a background, is the margin in nats of the actions
    before the background. Each score counts in multiples of its ``scale`` from its ``centre``, the median of the clips
    that were taught.
    """

    threshold: float
    distance_centre: float
    distance_scale: Annotated[float, Meta(gt=0)]
    margin_centre: float = 0.0
    margin_scale: Annotated[float, Meta(gt=0)] = 1.0


class ClassReport(Record, frozen=True):
    """One action in the held-out folds; the interval of ``recall`` is Wilson's at 95 %, over videos."""

    label: str
    videos: Count
    clips: Count
    recall: Share
    recall_low: Share
    recall_high: Share


class ThresholdPoint(Record, frozen=True):
    """What a threshold of familiarity would do on the held-out clips: shares as ``false_alarms`` and ``misses`` are."""

    threshold: float
    misses: Share
    false_alarms: Share | None = None


class ConfidenceBin(Record, frozen=True):
    """Held-out clips whose best action has about this ``confidence``, and the share of them that it is right for."""

    confidence: Share
    accuracy: Share
    clips: Count


class Report(Record, frozen=True):
    """What the held-out folds told, in which no clip of a video is judged by a head that saw another clip of it.

    ``confusion``: clips by action (rows) and by answer (columns: the actions, then ``unknown``). ``false_alarms``: the
    share of held-out background windows that were taken for an action, None without a background. ``misses``: the share
    of clips of actions that were answered with ``unknown``. ``calibration_error``: expected, over ten bins.

    ``thresholds``: points of the curve that another threshold moves along, by rising threshold. ``calibration``: the
    bins with clips, by rising confidence. Heads of older versions have neither.
    """

    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: Share
    calibration_error_before: Share
    calibration_error: Share
    misses: Share
    background_windows: Count = 0
    false_alarms: Share | None = None
    false_alarms_low: Share | None = None
    false_alarms_high: Share | None = None
    warnings: tuple[str, ...] = ()
    thresholds: tuple[ThresholdPoint, ...] | msgspec.UnsetType = msgspec.UNSET
    calibration: tuple[ConfidenceBin, ...] | msgspec.UnsetType = msgspec.UNSET


class HeadManifest(Record, frozen=True):
    """The whole of ``head.json``; ``features`` is the identity of the features that the weights are for."""

    format_version: int
    name: Annotated[str, Meta(pattern=NAME)]
    model: str
    features: str
    labels: tuple[Annotated[str, Meta(min_length=1, max_length=LONGEST_LABEL)], ...]
    temperature: Annotated[float, Meta(gt=0)]
    rejection: Rejection
    fps: Annotated[float, Meta(gt=0)]
    taught_at: str
    built_with: dict[str, str]
    report: Report
    weights_sha256: str
    digest: str = ""

    def sealed(self) -> HeadManifest:
        """The same manifest with ``digest`` set, so that a later change of any field is detected."""
        return msgspec.structs.replace(self, digest=self.expected_digest())

    def expected_digest(self) -> str:
        """SHA-256 of the canonical JSON of all fields except ``digest``; through the weights' own, of these too."""
        unsealed = msgspec.structs.replace(self, digest="")
        return hashlib.sha256(msgspec.json.encode(unsealed, order="deterministic")).hexdigest()
