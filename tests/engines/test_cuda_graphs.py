"""When work is captured as a graph, kept, and given up; the graphs are recordings of Python calls here."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from engines.device.cuda_graphs import CapturedRuns, GraphSwitch

Work = Callable[[], None]


class Device:
    """Adds up what was launched; ``how`` its recordings go wrong, if they do."""

    def __init__(self, how: str = "right") -> None:
        self.how = how
        self.recording = False
        self.plain: list[int] = []
        self.replayed: list[int] = []
        self.result = torch.zeros(2)

    def work(self, number: int) -> Work:
        def run() -> None:
            if self.recording:
                return
            self.plain.append(number)
            self.result.fill_(number)

        return run

    def record(self, work: Work) -> Work:
        if self.how == "refused":
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")
        self.recording = True
        work()
        self.recording = False
        number = self.number

        def replay() -> None:
            self.replayed.append(number)
            if self.how == "right":
                self.result.fill_(number)
            elif self.how == "wrong":
                self.result.fill_(number + 1)

        return replay

    def wait(self) -> None:
        pass

    def ask(self, runs: CapturedRuns, number: int) -> float:
        self.number = number
        self.result.fill_(-5)
        runs(number, self.work(number), self.result)
        return float(self.result[0])


def test_repeated_work_is_captured_and_replayed() -> None:
    device, switch = Device(), GraphSwitch("work")
    runs = CapturedRuns(device, switch, most=8)
    assert [device.ask(runs, 7) for _ in range(4)] == [7] * 4
    # Once, once more to compare with, and then the graph: to be compared, for the second and each later answer.
    assert device.plain == [7, 7]
    assert device.replayed == [7] * 4
    assert switch.is_on


def test_least_recently_used_graph_is_dropped() -> None:
    device = Device()
    runs = CapturedRuns(device, GraphSwitch("work"), most=2)
    for number in (1, 1, 2, 2, 1, 3, 3):
        assert device.ask(runs, number) == number
    device.plain.clear()
    assert device.ask(runs, 1) == 1
    assert device.plain == []
    assert device.ask(runs, 2) == 2
    assert device.plain == [2]


@pytest.mark.parametrize(("how", "why"), [("refused", "not permitted"), ("wrong", "otherwise"), ("empty", "otherwise")])
def test_failing_graph_turns_graphs_off_with_one_warning(how: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    device, switch = Device(how), GraphSwitch("work")
    lanes = [CapturedRuns(device, switch, most=8) for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        for runs in lanes * 4:
            assert [device.ask(runs, number) for number in (1, 2)] == [1, 2]
    (warning,) = caplog.records
    assert why in warning.why
    assert "\n" not in warning.why
    assert not switch.is_on
