"""The comparison behind `just bench --check`, on given measurements."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.latency import check
from tests.latency.check import settle, verdict_table, verdicts
from tests.latency.measurements import Case, Measurements, Run, Server
from tests.latency.payloads import CLIP_BYTES
from tests.latency.ratios import COMPARISONS, FASTAPI, MEMORY, MEMORY_RATIO, OURS, Ratio, best_rival, ratios

P50 = "instant: json / FastAPI, p50, 1 client"
RATE = "gpu: json / FastAPI, requests/s, 16 clients"


def measured(*, ours_ms: float, ours_per_s: float) -> Measurements:
    """FastAPI at 20 ms and 50 requests/s in three repetitions, of which the second was in a busy moment for both."""
    runs = Measurements()
    for busy in (1, 3, 1):
        for server, ms, per_s in ((OURS, ours_ms, ours_per_s), (FASTAPI, 20, 50)):
            runs.add(Case("instant", server, "json", 1), Run([ms * busy] * 10, 1, 1, 1))
            runs.add(Case("gpu", server, "json", 16), Run([1] * 10, per_s / busy, 1, 1))
    return runs


def shown(judged: list[check.Verdict]) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(verdict_table(judged).for_terminal())
    return console.export_text()


def test_ratios_are_of_runs_side_by_side() -> None:
    found = {ratio.name: ratio for ratio in ratios(measured(ours_ms=8, ours_per_s=100))}
    assert found[P50].value == pytest.approx(0.4)
    assert found[P50].holds
    assert found[RATE].value == pytest.approx(2)
    assert found[RATE].more_is_better


def test_a_limit_that_is_missed_is_told() -> None:
    found = {ratio.name: ratio for ratio in ratios(measured(ours_ms=10, ours_per_s=100))}
    assert not found[P50].holds


def test_a_worse_ratio_fails_and_is_named() -> None:
    slower = ratios(measured(ours_ms=9.6, ours_per_s=100))
    judged = list(verdicts(slower, {P50: 0.4, RATE: 2}))
    assert [verdict.ratio.name for verdict in judged if verdict.fails] == [P50]
    first = next(line for line in shown(judged).splitlines() if "requests/s" in line or "p50" in line)
    assert P50 in first
    assert "WORSE" in first
    assert "+20%" in first


def test_less_throughput_fails_too() -> None:
    judged = list(verdicts(ratios(measured(ours_ms=8, ours_per_s=80)), {P50: 0.4, RATE: 2}))
    assert [verdict.ratio.name for verdict in judged if verdict.fails] == [RATE]
    assert "+25%" in next(line for line in shown(judged).splitlines() if RATE in line)


@pytest.mark.parametrize(("ours_ms", "ours_per_s"), [(4, 200), (8, 100), (9, 90)])
def test_better_and_a_little_worse_pass(ours_ms: float, ours_per_s: float) -> None:
    judged = list(verdicts(ratios(measured(ours_ms=ours_ms, ours_per_s=ours_per_s)), {P50: 0.4, RATE: 2}))
    assert {P50, RATE} <= {verdict.ratio.name for verdict in judged}
    assert not any(verdict.fails for verdict in judged)


@pytest.mark.parametrize(("later_ms", "asked", "fails"), [((8, 8), 1, False), ((11, 8), 2, False), ((11, 11), 2, True)])
def test_what_seems_worse_is_measured_again(later_ms: tuple[float, ...], asked: int, fails: bool) -> None:
    runs, again = measured(ours_ms=11, ours_per_s=100), []

    def more(scenario: str) -> bool:
        again.append(scenario)
        # Five runs outweigh the three that there were.
        for server, ms in ((OURS, later_ms[len(again) - 1]), (FASTAPI, 20)):
            for _ in range(5 * len(again)):
                runs.add(Case("instant", server, "json", 1), Run([ms] * 10, 1, 1, 1))
        return True

    assert settle(runs, {P50: 0.4, RATE: 2}, ("instant", "gpu"), more)
    assert again == ["instant"] * asked
    judged = verdicts(ratios(runs), {P50: 0.4, RATE: 2})
    assert [verdict.ratio.name for verdict in judged if verdict.fails] == [P50] * fails


def test_what_was_not_asked_for_is_not_measured_again() -> None:
    assert settle(measured(ours_ms=11, ours_per_s=100), {P50: 0.4}, ("gpu",), lambda _: False)


def test_what_cannot_be_measured_again_is_told() -> None:
    assert not settle(measured(ours_ms=11, ours_per_s=100), {P50: 0.4}, ("instant",), lambda _: False)


def test_percentiles_are_of_all_requests() -> None:
    runs, case = Measurements(), Case("instant", OURS, "json", 1)
    for latencies_ms in ([1.0] * 98 + [7.0, 8.0], [1.0] * 98 + [9.0, 9.5]):
        runs.add(case, Run(latencies_ms, 1, 1, 1))
    assert runs.figure(case, "p50") == 1
    assert runs.figure(case, "p99") == 9


def test_a_ratio_without_a_record_is_new() -> None:
    judged = list(verdicts([Ratio("never seen", 1, more_is_better=False)], {}))
    assert not judged[0].fails
    assert "new" in shown(judged)


def test_recording_keeps_what_was_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "BASELINE", tmp_path / "baseline.json")
    check.record_baseline([Ratio("one", 1, more_is_better=False), Ratio("two", 2, more_is_better=True)], "here", "full")
    check.record_baseline([Ratio("two", 3, more_is_better=True)], "there", "full")
    check.record_baseline([Ratio("two", 4, more_is_better=True)], "there", "quick")
    assert check.read_baseline("full") == {"one": 1, "two": 3}
    assert check.read_baseline("quick") == {"two": 4}


def test_what_was_measured_can_be_kept(tmp_path: Path) -> None:
    runs = measured(ours_ms=8, ours_per_s=100)
    runs.begin("memory", "of one server", "here")
    runs.add(MEMORY, Run([1.5], 1, 1, 1, {"read": 0.5}))
    runs.add_server(Server(MEMORY.scenario, MEMORY.server, "1", 2 * 32 * CLIP_BYTES + 350_000_000))
    runs.save(tmp_path / "runs.json")
    again = Measurements()
    again.load(tmp_path / "runs.json")
    assert list(again) == list(runs)
    assert again.runs(MEMORY) == runs.runs(MEMORY)
    assert {ratio.name: ratio.value for ratio in ratios(again)} == {ratio.name: ratio.value for ratio in ratios(runs)}
    assert next(ratio for ratio in ratios(again) if ratio.name == MEMORY_RATIO).value == 1


def test_the_best_rival_is_no_variant_of_ours() -> None:
    runs = measured(ours_ms=8, ours_per_s=100)
    assert best_rival(runs, "gpu", 16) is None
    for server, per_s in (("floor", 900), ("mosec", 70), ("LitServe", 60)):
        runs.add(Case("gpu", server, "json", 16), Run([1], per_s, 1, 1))
    assert best_rival(runs, "gpu", 16) == "mosec"


def test_no_baseline_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "BASELINE", tmp_path / "baseline.json")
    assert check.read_baseline("full") == {}


@pytest.mark.parametrize("form", ["full", "quick"])
def test_every_recorded_ratio_is_still_measured(form: check.Form) -> None:
    recorded = set(check.read_baseline(form))
    assert recorded
    assert recorded <= {MEMORY_RATIO, *(comparison.name for comparison in COMPARISONS)}
