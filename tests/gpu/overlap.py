"""Are copies and preprocessing hidden behind the network of the batch before, and where does the time go?"""

from __future__ import annotations

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from engines.storage.bundle import Bundle
from tests.gpu.running import clips_per_s, noise, running
from tests.gpu.setting import Setting, say, setting

_PHASES = ("copy_ms", "preprocess_ms", "wait_ms", "network_ms")
_RUNS = 30
_LANES = {"1 lane": {"lanes": 1}, "2 lanes": {"lanes": 2}, "2 side by side": {"lanes": 2, "side_by_side": True}}


def main() -> None:
    chosen = setting()
    bundles = dict(chosen.bundles())
    # Compiled where that worked: the faster the network, the more there is to hide.
    name = "torch inductor" if "torch inductor" in bundles else "torch"
    batches = (chosen.batches[0], chosen.batches[-2])
    say(f"{name}, clips/s", "batch", *_LANES, "gain")
    for size in chosen.sizes:
        for batch in batches:
            _lanes(chosen, name, bundles[name], size, batch)
    say("ms of each phase, 1 lane", "batch", "copy", "preprocess", "network")
    with running(chosen, name, bundles[name], lanes=1) as engine:
        if engine is not None:
            for size in chosen.sizes:
                for batch in batches:
                    _phases(engine, size, noise(engine, batch, size))


def _lanes(chosen: Setting, name: str, bundle: Bundle, size: tuple[int, int], batch: int) -> None:
    rates = []
    for options in _LANES.values():
        with running(chosen, name, bundle, **options) as engine:
            if engine is None:
                return
            rates.append(clips_per_s(engine, noise(engine, batch, size), chosen.seconds))
    say(f"{size[1]} x {size[0]}", batch, *(f"{rate:.1f}" for rate in rates), f"{rates[1] / rates[0]:.2f}")


def _phases(engine: Engine, size: tuple[int, int], clips: list[Clip]) -> None:
    """Medians; preprocessing without its copies."""
    inferences = [engine.infer(clips) for _ in range(_RUNS)][4:]
    copy, preprocess, _, network = (
        float(np.median([getattr(inference, phase) for inference in inferences])) for phase in _PHASES
    )
    say(f"{size[1]} x {size[0]}", len(clips), *(f"{ms:.3f}" for ms in (copy, preprocess - copy, network)))


if __name__ == "__main__":
    main()
