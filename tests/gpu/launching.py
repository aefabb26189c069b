"""How the network is launched: as graphs or plainly, and with which of torch's attention kernels."""

from __future__ import annotations

import torch
from torch.export.passes import move_to_device_pass

from engines.options import Graphs
from engines.runtimes.torch_attention import KERNELS, use_attention
from engines.storage.bundle import Bundle
from tests.gpu.running import noise, running
from tests.gpu.setting import Setting, say, setting
from tests.gpu.timing import latencies_ms, timed_s
from tests.percentile import percentile

_GRAPHS: tuple[Graphs, ...] = ("none", "network", "whole")


def main() -> None:
    chosen = setting()
    batches = (chosen.batches[0], chosen.batches[-2])
    say("p50 ms, graphs:", "batch", *_GRAPHS)
    for name, bundle in chosen.bundles():
        times = [_by_batch(chosen, name, bundle, graphs, batches) for graphs in _GRAPHS]
        for place, batch in enumerate(batches):
            say(name, batch, *(taken[place] for taken in times if taken))
    _attention(chosen, batches)


def _by_batch(chosen: Setting, name: str, bundle: Bundle, graphs: Graphs, batches: tuple[int, ...]) -> list[str]:
    """The median of each batch on one engine; nothing if it does not run."""
    with running(chosen, name, bundle, lanes=1, graphs=graphs) as engine:
        if engine is None:
            return []
        clips = noise(engine, max(batches), chosen.sizes[0])
        taken = [latencies_ms(lambda some=clips[:batch]: engine.infer(some), chosen.seconds / 2) for batch in batches]  # type: ignore[misc]
    return [f"{percentile(one, 50):.3f}" for one in taken]


def _attention(chosen: Setting, batches: tuple[int, ...]) -> None:
    say("network ms, attention:", "batch", *KERNELS)
    bundle = dict(chosen.bundles())["torch"]
    program = move_to_device_pass(torch.export.load(bundle.file(".pt2")), chosen.device).module()
    shape = bundle.manifest.network_input.clip_shape
    for batch in batches:
        pixels = torch.randn(batch, *shape, dtype=chosen.dtype, device=chosen.device)
        times = []
        for kernel in KERNELS:
            use_attention(program, kernel)
            try:
                with torch.inference_mode():
                    times.append(f"{timed_s(lambda: program(pixels), chosen) * 1e3:.3f}")  # noqa: B023
            except RuntimeError:
                times.append("no")
        say("torch", batch, *times)


if __name__ == "__main__":
    main()
