"""Trains the demo checkpoint on rendered clips."""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import VJEPA2ForVideoClassification

from export.demo.labels import HOLD, LABELS
from export.demo.rendering.scenery import Scenery
from export.demo.training import augmentation, checkpoint, filters
from export.demo.training.dataset import Pool

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """``steps`` training steps that draw each scenery with the given probability, and reframe clips if requested."""

    steps: int
    chances: dict[Scenery, float]
    reframed: bool = False


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters.

    ``plain`` is the share of the first steps, which use plain clips only; ``quiet`` is the share of the next steps,
    which use all except restless clips. The remaining steps use all sceneries and reframe the clips. ``compiled``
    trains faster but needs a C++ compiler.
    """

    steps: int = 6_000
    plain: float = 1 / 15
    quiet: float = 1 / 3
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: float = 0.03
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    clip_norm: float = 1.0
    average_decay: float = 0.999
    seed: int = 0
    compiled: bool = False

    def stages(self) -> list[Stage]:
        """Return the stages in order, from easy clips to those that make the network robust."""
        plain, quiet = round(self.plain * self.steps), round(self.quiet * self.steps)
        return [
            Stage(plain, {Scenery.PLAIN: 1.0}),
            Stage(quiet, {Scenery.PLAIN: 0.15, Scenery.CALM: 0.45, Scenery.LIVELY: 0.4}),
            Stage(
                self.steps - plain - quiet,
                {Scenery.PLAIN: 0.05, Scenery.CALM: 0.4, Scenery.LIVELY: 0.2, Scenery.RESTLESS: 0.35},
                reframed=True,
            ),
        ]


class Batches:
    """Draws augmented batches from pools of clips."""

    def __init__(self, pools: dict[Scenery, Pool], recipe: Recipe) -> None:
        self._pools, self._size = pools, recipe.batch
        self._rng = np.random.default_rng(recipe.seed)

    def _clip(self, chances: dict[Scenery, float]) -> tuple[npt.NDArray[np.uint8], int]:
        """Draw one augmented clip uint8 [16, 3, 64, 64] and its label index."""
        pool = self._pools[list(chances)[self._rng.choice(len(chances), p=list(chances.values()))]]
        index = self._rng.integers(len(pool.clips))
        frames = pool.clips[index].transpose(0, 2, 3, 1)
        frames, label = augmentation.augment(self._rng, frames, LABELS[pool.labels[index]])
        return frames.transpose(0, 3, 1, 2), LABELS.index(label)

    def draw(self, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a network input float32 [N, 16, 3, 64, 64] and its label indices [N]."""
        clips, labels = zip(*(self._clip(stage.chances) for _ in range(self._size)), strict=True)
        pixels = torch.from_numpy(np.stack(clips)).float().div_(255.0)
        if stage.reframed:
            pixels = augmentation.reframe(self._rng, pixels)
        return checkpoint.normalise(augmentation.relight(self._rng, pixels)), torch.tensor(labels)


@torch.no_grad()
def _average(average: VJEPA2ForVideoClassification, model: VJEPA2ForVideoClassification, decay: float) -> None:
    """Move the averaged weights a little towards the current ones."""
    for kept, current in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(current, 1 - decay)


def _new_model(seed: int) -> VJEPA2ForVideoClassification:
    torch.manual_seed(seed)
    config = checkpoint.configuration()
    # On a CPU and with 256 tokens, the backward pass of the plain attention is the faster one.
    config._attn_implementation = "eager"
    model = VJEPA2ForVideoClassification(config)
    patches = model.vjepa2.encoder.embeddings.patch_embeddings.proj
    gratings = filters.drifting_gratings(
        np.random.default_rng(seed), config.hidden_size, config.patch_size, config.tubelet_size
    )
    with torch.no_grad():
        patches.weight.copy_(gratings)
    return model


class Trainer:
    """Trains a model and its moving average, and saves the average to ``partial`` every 1,000 steps."""

    def __init__(self, pools: dict[Scenery, Pool], recipe: Recipe, partial: Path) -> None:
        self._recipe, self._partial = recipe, partial
        self._batches = Batches(pools, recipe)
        self._model = _new_model(recipe.seed)
        self._network = torch.compile(self._model) if recipe.compiled else self._model
        self.averaged = copy.deepcopy(self._model).eval()

    def run(self) -> None:
        """Run all stages of the recipe with one cycle of the learning rate."""
        recipe, total = self._recipe, self._recipe.steps
        optimizer = torch.optim.AdamW(self._model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=total + 1, pct_start=recipe.warmup
        )
        sequence = [stage for stage in recipe.stages() for _ in range(stage.steps)]
        start, recent = time.monotonic(), []
        for taken, stage in enumerate(sequence, start=1):
            recent.append(self._step(optimizer, stage))
            schedule.step()
            _average(self.averaged, self._model, min(self._recipe.average_decay, taken / (taken + 9)))
            if taken % 100 == 0 or taken == total:
                loss, accuracy = np.mean(recent, axis=0)
                minutes = (time.monotonic() - start) / 60
                logger.info("step %d: loss %.3f, accuracy %.3f, %.1f minutes", taken, loss, accuracy, minutes)
                recent = []
            if taken % 1000 == 0:
                checkpoint.write(self.averaged, self._partial)

    def _step(self, optimizer: torch.optim.Optimizer, stage: Stage) -> tuple[float, float]:
        """Train on one batch; returns its loss and accuracy."""
        inputs, labels = self._batches.draw(stage)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self._network(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=self._recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.clip_norm)
        optimizer.step()
        return float(loss.detach()), float((logits.argmax(dim=1) == labels).float().mean())


@torch.no_grad()
def _even_out(model: VJEPA2ForVideoClassification) -> None:
    """Subtract log 2 from the score of HOLD, because it appears twice as often as most labels in training."""
    model.classifier.bias[LABELS.index(HOLD)] -= math.log(2)


def train(pools: dict[Scenery, Pool], recipe: Recipe, output: Path) -> None:
    """Train and write the averaged weights to ``output``; during training, ``output``.partial holds the latest ones."""
    partial = output.with_name(f"{output.name}.partial")
    trainer = Trainer(pools, recipe, partial)
    trainer.run()
    _even_out(trainer.averaged)
    checkpoint.write(trainer.averaged, output)
    checkpoint.discard(partial)
