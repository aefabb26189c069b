"""Are copies and preprocessing hidden behind the network of the batch before, and where does the time go?"""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from engines.storage.bundle import Bundle
from tests.gpu.running import clips_per_s, noise, running
from tests.gpu.setting import Setting, say, setting

_PHASES = ("copy_ms", "preprocess_ms", "wait_ms", "network_ms")
_RUNS = 30
_LANES: dict[str, dict[str, Any]] = {
    "1 lane": {"lanes": 1},
    "2 lanes": {"lanes": 2},
    "2 side by side": {"lanes": 2, "side_by_side": True},
}


def main() -> None:
    chosen = setting()
    bundles = dict(chosen.bundles())
    # Compiled where that worked: the faster the network, the more there is to hide.
    name = "torch inductor" if "torch inductor" in bundles else "torch"
    batches = (chosen.batches[0], chosen.batches[-2])
    say(f"{name}, clips/s", "batch", *_LANES, "gain")
    loads = [(size, batch) for size in chosen.sizes for batch in batches]
    rates = [_rates(chosen, name, bundles[name], options, loads) for options in _LANES.values()]
    for place, (size, batch) in enumerate(loads if all(rates) else []):
        one, two, beside = (rate[place] for rate in rates)
        say(f"{size[1]} x {size[0]}", batch, f"{one:.1f}", f"{two:.1f}", f"{beside:.1f}", f"{two / one:.2f}")
    say("ms of each phase, 1 lane", "batch", "copy", "preprocess", "network")
    with running(chosen, name, bundles[name], lanes=1) as engine:
        if engine is not None:
            for size in chosen.sizes:
                for batch in batches:
                    _phases(engine, size, noise(engine, batch, size))


def _rates(
    chosen: Setting, name: str, bundle: Bundle, options: dict[str, Any], loads: list[tuple[tuple[int, int], int]]
) -> list[float]:
    """Clips a second of one engine for each size of frames and batch; nothing if it does not run."""
    with running(chosen, name, bundle, **options) as engine:
        if engine is None:
            return []
        return [clips_per_s(engine, noise(engine, batch, size), chosen.seconds) for size, batch in loads]


def _phases(engine: Engine, size: tuple[int, int], clips: list[Clip]) -> None:
    """Medians; preprocessing without its copies."""
    inferences = [engine.infer(clips) for _ in range(_RUNS)][4:]
    copy, preprocess, _, network = (
        float(np.median([getattr(inference, phase) for inference in inferences])) for phase in _PHASES
    )
    say(f"{size[1]} x {size[0]}", len(clips), *(f"{ms:.3f}" for ms in (copy, preprocess - copy, network)))


if __name__ == "__main__":
    main()
