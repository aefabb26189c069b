"""Latency and throughput of each way to run the network, from frames in host memory to probabilities."""

from __future__ import annotations

from engines.engine import Engine
from tests.gpu.machine import matrix_product_flop_per_s
from tests.gpu.running import clips_per_s, noise, running
from tests.gpu.setting import Setting, say, setting
from tests.gpu.timing import latencies_ms
from tests.percentile import percentile


def main() -> None:
    chosen = setting()
    limit = matrix_product_flop_per_s(chosen) / chosen.flop
    say("limit of the matrix products", f"{limit:.1f} clips/s", f"{1e3 / limit:.2f} ms")
    say("", "batch", "p50 ms", "p99 ms", "clips/s", "of limit", "2 lanes", "of limit")
    for name, bundle in chosen.bundles():
        with running(chosen, name, bundle, lanes=1) as one, running(chosen, name, bundle, lanes=2) as two:
            if one is not None and two is not None:
                _by_batch(chosen, name, one, two, limit)


def _by_batch(chosen: Setting, name: str, one: Engine, two: Engine, limit: float) -> None:
    clips = noise(one, max(chosen.batches), chosen.sizes[0])
    for batch in chosen.batches:
        taken = latencies_ms(lambda batch=batch: one.infer(clips[:batch]), chosen.seconds)  # type: ignore[misc]
        alone = batch * 1e3 / (sum(taken) / len(taken))
        both = clips_per_s(two, clips[:batch], chosen.seconds / 2)
        p50, p99 = (f"{percentile(taken, percent):.2f}" for percent in (50, 99))
        say(name, batch, p50, p99, f"{alone:.1f}", f"{alone / limit:.0%}", f"{both:.1f}", f"{both / limit:.0%}")


if __name__ == "__main__":
    main()
