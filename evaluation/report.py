"""The report of an evaluation: tables for people, JSON for programs, files to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from archive.errors import OutputError
from archive.version import VERSION
from evaluation.comparison import Comparison
from evaluation.pictures import confusion_png, reliability_png
from evaluation.proportion import Proportion
from evaluation.scores import Scores

_MOST_CONFUSED = 5


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: ``scores`` of each subject on the same videos, in ``views``, without the ``unreadable`` ones."""

    views: str
    scores: Sequence[Scores]
    comparisons: Sequence[Comparison]
    unreadable: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The report in terms of JSON."""
        return {
            "version": VERSION,
            "views": self.views,
            "videos": len(self.scores[0].videos),
            "unreadable": dict(self.unreadable),
            "subjects": [_subject(each) for each in self.scores],
            "comparisons": [asdict(each) | {"sentence": each.sentence()} for each in self.comparisons],
        }


def print_tables(report: Report, console: Console) -> None:
    """Print the report for people."""
    console.print(f"{len(report.scores[0].videos)} videos, {report.views}")
    console.print(_overview(report))
    console.print(_by_action(report.scores))
    for scores in report.scores:
        for shown, answer, count in scores.confused()[:_MOST_CONFUSED]:
            console.print(f"{scores.subject.name}: {shown!r} was answered with {answer!r} {count} times", markup=False)
    for comparison in report.comparisons:
        console.print(comparison.sentence(), markup=False, highlight=False)


def write_files(report: Report, directory: Path) -> None:
    """Write report.json, videos.csv and the pictures into ``directory``. Raises OutputError."""
    files = {"report.json": msgspec.json.format(msgspec.json.encode(report.as_dict()), indent=2) + b"\n"}
    files["videos.csv"] = _videos_csv(report.scores).encode()
    files["reliability.png"] = reliability_png({each.subject.name: each.calibration for each in report.scores})
    for number, scores in enumerate(report.scores, 1):
        name = "confusion.png" if len(report.scores) == 1 else f"confusion-{number}.png"
        files[name] = _confusion(scores)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {directory}: {error.strerror}", "choose another --out") from None


def _overview(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "top-1", "95 % interval", "top-5", "95 % interval", "calibration error"):
        table.add_column(heading, justify="left" if not heading else "right")
    for scores in report.scores:
        top1, top5 = scores.top1, scores.top5
        table.add_row(scores.subject.name, *_shown(top1), *_shown(top5), f"{scores.calibration.error:.3f}")
    return table


def _by_action(scores: Sequence[Scores]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("action")
    table.add_column("videos", justify="right")
    for each in scores:
        table.add_column(f"recall, {each.subject.name}", justify="right")
        table.add_column("95 % interval", justify="right")
    recalls = [each.recalls() for each in scores]
    for action in recalls[0]:
        cells = [cell for recall in recalls for cell in _shown(recall[action])]
        table.add_row(action, str(recalls[0][action].total), *cells)
    return table


def _shown(share: Proportion | None) -> tuple[str, str]:
    if share is None:
        return "-", "-"
    return f"{100 * share.share:.1f} %", f"{100 * share.low:.1f} to {100 * share.high:.1f} %"


def _subject(scores: Scores) -> dict[str, Any]:
    return {
        "name": scores.subject.name,
        "sha256": scores.subject.bundle.manifest.content_sha256(),
        "top1": asdict(scores.top1),
        "top5": None if scores.top5 is None else asdict(scores.top5),
        "actions": {label: asdict(recall) for label, recall in scores.recalls().items()},
        "confused": [
            {"shown": shown, "answered": answer, "videos": count} for shown, answer, count in scores.confused()
        ],
        "calibration": asdict(scores.calibration),
    }


def _videos_csv(scores: Sequence[Scores]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "action", "subject", "answer", "confidence", "right"))
    for each in scores:
        for index, video in enumerate(each.videos):
            answer = each.subject.labels[each.best[index]]
            right = int(each.right[index])
            writer.writerow(
                (video.path, video.label, each.subject.name, answer, f"{each.confidence[index]:.6f}", right)
            )
    return text.getvalue()


def _confusion(scores: Scores) -> bytes:
    """The picture of the labels that were shown or answered; 174 would not fit."""
    labels, counts = scores.subject.labels, scores.confusion
    rows = np.flatnonzero(counts.sum(axis=1))
    columns = np.union1d(rows, np.flatnonzero(counts.sum(axis=0)))
    return confusion_png(
        [labels[row] for row in rows], [labels[column] for column in columns], counts[np.ix_(rows, columns)]
    )
