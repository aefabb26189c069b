"""What is measured: which servers, with which payloads, under how many clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export.architectures.checkpoint_files import DEMO_CHECKPOINT
from tests.latency import servers
from tests.latency.contender import Contender
from tests.latency.payloads import ENCODINGS, stand_in_label
from tests.latency.ratios import MEMORY, OURS_INT8
from tests.latency.vitl import vitl_bundle, vitl_checkpoint

# Machines change their pace within seconds: the shorter the turns, the more alike is what two servers met.
_TURN_S = 0.4


@dataclass(frozen=True)
class Entry:
    """A contender and the payloads that it is sent."""

    contender: Contender
    payloads: Sequence[str] = ("json",)


@dataclass(frozen=True)
class Scenario:
    """In each of ``repetitions``, ``entries`` are asked one after the other, for ``seconds`` by each of ``clients``.

    ``label`` is the right answer; None where the first entry's is taken for it.
    """

    name: str
    title: str
    entries: Sequence[Entry]
    clients: Sequence[int]
    seconds: float
    repetitions: int
    label: str | None = None


def _instant(quick: bool) -> Scenario:
    """The way to the engine and back, and nothing else."""
    rivals = [servers.fastapi("instant", alone=True)] if quick else servers.rivals("instant")
    entries = [
        Entry(servers.ours(pace="instant"), ENCODINGS),
        Entry(servers.floor(), ("json", "octet-stream")),
        *map(Entry, rivals),
    ]
    return _stand_in("instant", "an engine that answers at once", entries, quick)


def _gpu(quick: bool) -> Scenario:
    """A GPU's stand-in; without ``quick`` also beside rivals with two processes in front of it."""
    entries = [Entry(servers.ours(pace="gpu"), ENCODINGS)]
    if quick:
        entries.append(Entry(servers.fastapi("gpu", alone=True)))
    else:
        entries += map(Entry, [*servers.rivals("gpu"), *servers.twofold_rivals("gpu")])
    return _stand_in("gpu", "a stand-in for a GPU: 4 ms a batch and 2.5 ms for each further clip", entries, quick)


def _stand_in(name: str, title: str, entries: Sequence[Entry], quick: bool) -> Scenario:
    clients, repetitions = ((1, 16), 12) if quick else ((1, 4, 16), 24)
    return Scenario(name, title, entries, clients, _TURN_S, repetitions, stand_in_label())


def _demo(quick: bool) -> Scenario:
    entries = [Entry(servers.ours(), ENCODINGS), Entry(servers.transformers(DEMO_CHECKPOINT, "fp32"))]
    title = "the demo bundle on the CPU; FastAPI has transformers' model of the same checkpoint"
    return Scenario("demo", title, entries, (1, 4), 3.0, 3 if quick else 5)


def _vitl(quick: bool) -> Scenario:
    """A ViT-L, whose network takes seconds on a CPU: three requests each."""
    checkpoint = vitl_checkpoint()
    rivals = [servers.transformers(checkpoint, precision) for precision in ("bf16", "fp32")]
    ours = [servers.ours(str(vitl_bundle())), servers.ours(str(vitl_bundle("int8")), name=OURS_INT8)]
    entries = [Entry(contender) for contender in (*ours, *rivals)]
    title = "ViT-L with random weights on the CPU; FastAPI has transformers' model of the same config"
    return Scenario("vitl", title, entries, (1,), 0, 1 if quick else 3)


def _memory(quick: bool) -> Scenario:
    """Our server alone, with more clips at once than it is asked for elsewhere."""
    entry = Entry(servers.ours(pace="gpu"), (MEMORY.payload,))
    title = "peak memory, with the stand-in for a GPU"
    return Scenario(MEMORY.scenario, title, [entry], (MEMORY.clients,), 1.5 if quick else 5.0, 1, stand_in_label())


SCENARIOS: dict[str, Callable[[bool], Scenario]] = {
    "instant": _instant,
    "gpu": _gpu,
    "memory": _memory,
    "demo": _demo,
    "vitl": _vitl,
}
QUICK = ("instant", "gpu", "memory")
