"""The report of a head: a table for people, pictures beside the head."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engines.linear_heads.manifest import UNKNOWN, HeadManifest
from evaluation.pictures import confusion_png, reliability_png
from evaluation.subject import BACKGROUND
from teaching.judgement import Judgement

_MOST_CONFUSED = 6
# More columns of numbers would not fit a terminal.
_MOST_COLUMNS = 8


def pictures_of(judgement: Judgement) -> dict[str, bytes]:
    """The confusion matrix and the reliability diagram, as PNG by file name."""
    labels = judgement.lesson.labels
    rows = [*labels, BACKGROUND] if judgement.lesson.has_background else list(labels)
    series = {
        "as fitted": judgement.calibration(1.0),
        f"at temperature {judgement.temperature:.2f}": judgement.calibration(judgement.temperature),
    }
    return {
        "confusion.png": confusion_png(rows, [*labels, UNKNOWN], judgement.confusion[: len(rows)]),
        "reliability.png": reliability_png(series),
    }


def print_report(manifest: HeadManifest, console: Console) -> None:
    """Print what ``manifest`` says of its head, for people."""
    report = manifest.report
    console.print(_by_action(manifest))
    lines = [
        f"accuracy {report.accuracy:.1%} of clips of videos that were held out, {report.misses:.1%} of them unknown",
        f"calibration error {report.calibration_error_before:.3f} as fitted,"
        f" {report.calibration_error:.3f} at temperature {manifest.temperature:.2f}",
    ]
    if report.false_alarms is not None:
        lines.append(
            f"false alarms {report.false_alarms:.1%} of {report.background_windows} background windows"
            f" (95 % interval {report.false_alarms_low:.1%} to {report.false_alarms_high:.1%})"
        )
    for line in (*lines, *_confused(manifest)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _by_action(manifest: HeadManifest) -> Table:
    """The recall of each action over videos, and where there are not too many, its clips by their answers."""
    numbered = len(manifest.labels) <= _MOST_COLUMNS
    table = Table(box=None, pad_edge=False)
    for heading in ("", "action", "videos", "recall", "95 %"):
        table.add_column(
            heading, justify="left" if heading == "action" else "right", no_wrap=heading in ("action", "95 %")
        )
    for number in range(len(manifest.labels) * numbered):
        table.add_column(str(number + 1), justify="right", style="dim")
    table.add_column(UNKNOWN, justify="right", style="dim")
    for number, (each, row) in enumerate(zip(manifest.report.classes, manifest.report.confusion, strict=True), 1):
        interval = f"{each.recall_low:.0%}-{each.recall_high:.0%}"
        answers = (str(count or "") for count in (row if numbered else row[-1:]))
        label = Text(each.label, overflow="ellipsis")
        table.add_row(str(number), label, str(each.videos), f"{each.recall:.0%}", interval, *answers)
    return table


def _confused(manifest: HeadManifest) -> Iterator[str]:
    """What was most often taken for another action."""
    labels = manifest.labels
    wrong = [
        (count, shown, answer)
        for shown, row in zip(labels, manifest.report.confusion, strict=True)
        for answer, count in zip(labels, row, strict=False)
        if count and answer != shown
    ]
    for count, shown, answer in sorted(wrong, key=lambda each: -each[0])[:_MOST_CONFUSED]:
        yield f"{shown!r} was taken for {answer!r} in {count} clip{'s' * (count > 1)}"
