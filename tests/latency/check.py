"""Whether the service has become slower: ratios of this run beside those recorded in ``baseline.json``.

A full run has its own record, a quick one too: with four rivals more on the machine even FastAPI's pace is another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.latency.measurements import Measurements
from tests.latency.ratios import Ratio, ratios
from tests.latency.tables import Table

BASELINE = Path(__file__).with_name("baseline.json")
# What repeated runs on a quiet machine stay within.
MOST_WORSE = 0.15
_MOST_AGAIN = 2

Form = Literal["full", "quick"]


@dataclass(frozen=True)
class Verdict:
    """A ratio and what it was; ``recorded`` is None for one that the baseline does not know."""

    ratio: Ratio
    recorded: float | None

    @property
    def worse_by(self) -> float:
        """0.2 is a fifth worse, whichever way is better; negative is better."""
        if self.recorded is None:
            return 0.0
        return (self.recorded / self.ratio.value if self.ratio.more_is_better else self.ratio.value / self.recorded) - 1

    @property
    def fails(self) -> bool:
        return self.worse_by > MOST_WORSE


def verdicts(measured: Iterable[Ratio], recorded: Mapping[str, float]) -> Iterator[Verdict]:
    """One for each of ``measured``; ``recorded`` ratios that were not measured are passed over."""
    return (Verdict(ratio, recorded.get(ratio.name)) for ratio in measured)


def settle(
    measured: Measurements, recorded: Mapping[str, float], scenarios: Collection[str], again: Callable[[str], bool]
) -> bool:
    """Those of ``scenarios`` in which a ratio seems worse are measured ``again``, and once more if it still does.

    How fast a server is differs from start to start; one that has become slower is so after each, and the medians are
    of all runs. ``again`` adds runs to ``measured``, or answers False where it could not, which is then returned.
    """
    for _ in range(_MOST_AGAIN):
        worse = {verdict.ratio.scenario: None for verdict in verdicts(ratios(measured), recorded) if verdict.fails}
        if not all(again(scenario) for scenario in worse if scenario in scenarios):
            return False
    return True


def verdict_table(judged: Iterable[Verdict]) -> Table:
    """What is worse first."""
    rows = sorted(judged, key=lambda verdict: -verdict.worse_by)
    columns = ("ratio", "better is", "recorded", "now", "worse by", "")
    return Table(f"Ratios, at most {MOST_WORSE:.0%} worse than recorded", columns, [_row(verdict) for verdict in rows])


def read_baseline(form: Form) -> dict[str, float]:
    """Recorded ratios by name; none where there is no baseline yet."""
    return dict(_recorded().get(form, {}).get("ratios", {}))


def record_baseline(measured: Iterable[Ratio], machine: str, form: Form) -> None:
    """Put ``measured`` into the baseline; what was not measured stays as it was recorded."""
    values = read_baseline(form) | {ratio.name: round(ratio.value, 3) for ratio in measured}
    forms = _recorded() | {form: {"machine": machine, "ratios": values}}
    BASELINE.write_text(json.dumps(forms, indent=2) + "\n")


def _recorded() -> dict[str, Any]:
    return dict(json.loads(BASELINE.read_text())) if BASELINE.exists() else {}


def _row(verdict: Verdict) -> tuple[str, ...]:
    ratio, recorded = verdict.ratio, verdict.recorded
    better = "more" if ratio.more_is_better else "less"
    if recorded is None:
        return (ratio.name, better, "", f"{ratio.value:.3f}", "", "new")
    judged = (f"{verdict.worse_by:+.0%}", "WORSE" if verdict.fails else "ok")
    return (ratio.name, better, f"{recorded:.3f}", f"{ratio.value:.3f}", *judged)
