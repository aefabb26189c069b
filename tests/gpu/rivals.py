"""What transformers makes of the same checkpoint here: pixels on the device, already prepared, to probabilities."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import VJEPA2ForVideoClassification

from tests.gpu.machine import matrix_product_flop_per_s
from tests.gpu.setting import Setting, say, setting
from tests.gpu.timing import latencies_ms
from tests.percentile import percentile


def main() -> None:
    chosen = setting()
    model = VJEPA2ForVideoClassification.from_pretrained(
        chosen.checkpoint, dtype=chosen.dtype, attn_implementation="sdpa"
    )
    model.eval().to(chosen.device)
    limit = matrix_product_flop_per_s(chosen) / chosen.flop
    say("", "batch", "p50 ms", "p99 ms", "clips/s", "of limit")
    _measure(chosen, "transformers eager", model, chosen.batches, limit)
    # Each batch would be compiled for itself, which takes most of the time of a rehearsal.
    few = chosen.batches[:1] if chosen.small else (chosen.batches[0], chosen.batches[-2])
    _measure(chosen, "transformers torch.compile", torch.compile(model, dynamic=False), few, limit)


def _measure(
    chosen: Setting, name: str, model: Callable[[torch.Tensor], object], batches: tuple[int, ...], limit: float
) -> None:
    shape = (chosen.model["frames_per_clip"], 3, chosen.model["crop_size"], chosen.model["crop_size"])
    for batch in batches:
        pixels = torch.randn(batch, *shape, dtype=chosen.dtype, device=chosen.device)

        def ask(pixels: torch.Tensor = pixels) -> torch.Tensor:
            with torch.inference_mode():
                return model(pixels).logits.float().softmax(-1).cpu()  # type: ignore[attr-defined, no-any-return]

        taken = latencies_ms(ask, chosen.seconds)
        rate = batch * 1e3 / (sum(taken) / len(taken))
        p50, p99 = (f"{percentile(taken, percent):.2f}" for percent in (50, 99))
        say(name, batch, p50, p99, f"{rate:.1f}", f"{rate / limit:.0%}")


if __name__ == "__main__":
    main()
