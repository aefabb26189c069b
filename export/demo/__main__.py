"""Train the demo checkpoint, evaluate it, or draw sample clips."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from commandline.parser import HelpFormatter
from export.demo.rendering.scenery import Scenery
from export.demo.training import checkpoint, dataset, evaluation, pictures, training

_CHECKPOINT = Path(__file__).parent / "checkpoint"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _train(arguments: argparse.Namespace) -> int:
    recipe = training.Recipe(
        steps=arguments.steps, batch=arguments.batch, seed=arguments.seed, compiled=arguments.compile
    )
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        pools = dataset.load_pools(arguments.cache or Path(scratch), arguments.clips, arguments.seed)
        training.train(pools, recipe, arguments.output)
    return 0


def _evaluate_photos(arguments: argparse.Namespace) -> list[str]:
    """Print the results on photo clips; returns a line for each missed target."""
    model = checkpoint.read(arguments.checkpoint)
    results = list(evaluation.photo_evaluations(model, arguments.photos, arguments.photo_clips))
    for name, result in results:
        print(f"{result.accuracy:6.1%}  {name} ({result.clips} clips)")
    overall = evaluation.Evaluation(
        np.sum([result.confusion for _, result in results], axis=0),
        float(np.mean([result.confidence for _, result in results])),
    )
    print(overall.table())
    least = evaluation.LEAST_PHOTO_ACCURACY
    return [f"photo clips: accuracy {overall.accuracy:.1%} is below {least:.0%}"] if overall.accuracy < least else []


def _evaluate(arguments: argparse.Namespace) -> int:
    model = checkpoint.read(arguments.checkpoint)
    scenery = Scenery(arguments.scenery)
    result = evaluation.evaluate(model, dataset.held_out(arguments.clips, scenery))
    print(result.table())
    if arguments.plot:
        pictures.draw_confusion(result.confusion, arguments.plot)
    # The other sceneries only show the limits of the checkpoint, so they have no targets.
    missed = result.shortfalls() if scenery == Scenery.CALM else []
    missed += _evaluate_photos(arguments) if arguments.photos else []
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


def _sheet(arguments: argparse.Namespace) -> int:
    pictures.draw_sheet(arguments.seed, arguments.path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.demo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    formatter = HelpFormatter

    train = commands.add_parser("train", help="render clips and train the checkpoint", formatter_class=formatter)
    train.add_argument("--output", type=Path, default=_CHECKPOINT, help="checkpoint directory to write")
    train.add_argument("--clips", type=_positive, default=30_000, help="number of clips to render")
    train.add_argument("--steps", type=_positive, default=training.Recipe.steps, help="number of optimiser steps")
    train.add_argument("--batch", type=_positive, default=training.Recipe.batch, help="number of clips per step")
    train.add_argument(
        "--seed", type=int, default=training.Recipe.seed, help="random seed of clips, weights and batches"
    )
    train.add_argument("--threads", type=_positive, default=2, help="CPU threads that the network uses")
    train.add_argument("--cache", type=Path, help="directory that keeps the rendered clips (6 GB) for the next run")
    train.add_argument(
        "--compile",
        action="store_true",
        help="compile the network, which trains a third faster but needs a C++ compiler",
    )
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="test a checkpoint on held-out clips", formatter_class=formatter)
    evaluate.add_argument("checkpoint", type=Path, nargs="?", default=_CHECKPOINT, help="checkpoint directory")
    evaluate.add_argument("--clips", type=_positive, default=1000, help="number of held-out clips")
    evaluate.add_argument(
        "--scenery",
        choices=[scenery.value for scenery in Scenery],
        default="calm",
        help="how much moves around the object",
    )
    evaluate.add_argument("--plot", type=Path, help="image file to write the confusion matrix to")
    evaluate.add_argument(
        "--photos", type=Path, help="directory of photographs and videos from which other test clips are made"
    )
    evaluate.add_argument("--photo-clips", type=_positive, default=55, help="number of photo clips per variant")
    evaluate.set_defaults(run=_evaluate)

    sheet = commands.add_parser("sheet", help="draw one sample clip of every label", formatter_class=formatter)
    sheet.add_argument("path", type=Path, help="image file to write")
    sheet.add_argument("--seed", type=int, default=0, help="random seed of the first clip")
    sheet.set_defaults(run=_sheet)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 on success, 1 when a target is missed, 2 for invalid input."""
    arguments = _parser().parse_args(argv)
    disable_progress_bar()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
