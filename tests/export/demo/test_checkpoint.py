"""The committed demo checkpoint, and the commands that train and evaluate it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from export.demo.__main__ import main
from export.demo.labels import LABELS
from export.demo.rendering import photo_clips
from export.demo.rendering.clips import render_clip
from export.demo.training import checkpoint, dataset, evaluation

COMMITTED = Path(checkpoint.__file__).parents[1] / "checkpoint"
FRESH_SEED = dataset.HELD_OUT_SEEDS.stop


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after three steps on a handful of clips."""
    output = tmp_path_factory.mktemp("trained") / "checkpoint"
    assert main(["train", "--output", str(output), "--clips", "48", "--steps", "3", "--batch", "4"]) == 0
    return output


def test_the_committed_checkpoint_recognises_fresh_clips() -> None:
    model = checkpoint.read(COMMITTED)
    clips = [dataset.preprocess(render_clip(FRESH_SEED + index, LABELS[index % 11])) for index in range(110)]
    result = evaluation.evaluate(model, [(frames, index % 11) for index, frames in enumerate(clips)])
    assert result.accuracy >= 0.95, "\n" + result.table()
    assert abs(result.confidence - result.accuracy) < 0.1


def test_the_committed_checkpoint_is_complete_and_small() -> None:
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 5_000_000
    config = json.loads((COMMITTED / "config.json").read_text())
    assert list(config["id2label"].values()) == list(LABELS)
    assert config["label2id"] == {label: index for index, label in enumerate(LABELS)}
    preprocessor = json.loads((COMMITTED / "video_preprocessor_config.json").read_text())
    assert preprocessor["crop_size"] == {"height": 64, "width": 64}
    assert preprocessor["size"] == {"shortest_edge": 73}


def test_training_writes_a_checkpoint_that_loads(trained: Path) -> None:
    model = checkpoint.read(trained)
    assert sorted(path.name for path in trained.parent.iterdir()) == ["checkpoint"]
    clips = np.zeros((2, 16, 3, 64, 64), np.uint8)
    np.testing.assert_allclose(evaluation.probabilities(model, clips).sum(axis=1), 1.0, atol=1e-5)


def test_evaluation_of_untrained_checkpoint_draws_the_matrix_and_fails(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "pictures" / "confusion.png"
    assert main(["evaluate", str(trained), "--clips", "11", "--plot", str(plot)]) == 1
    printed = capsys.readouterr()
    assert "11 clips: accuracy" in printed.out
    assert "missed: accuracy" in printed.err
    assert cv2.imread(str(plot)) is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "nowhere"], "not a checkpoint directory"),
        (["train", "--seed", "-1"], "a seed from 0 to 999"),
        (["evaluate", str(COMMITTED), "--clips", "2000000"], "held-out clips exist"),
    ],
)
def test_invalid_input_is_reported_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert words in error.splitlines()[-1]
    assert "Traceback" not in error


def test_training_and_held_out_clips_differ() -> None:
    assert not any(task.seed in dataset.HELD_OUT_SEEDS for task in dataset.training_tasks(1000, 999))
    assert dataset.TRAINING_SEEDS[-1] < dataset.HELD_OUT_SEEDS[0]


def test_recall_and_targets_of_known_matrix() -> None:
    confusion = np.eye(len(LABELS), dtype=np.int64) * 10
    assert evaluation.Evaluation(confusion, 0.9).shortfalls() == []
    confusion[0, 0], confusion[0, 1] = 8, 2
    result = evaluation.Evaluation(confusion, 0.9)
    assert result.recalls[0] == pytest.approx(0.8)
    assert result.shortfalls() == [f"{LABELS[0]}: recall 80.0% is below 92%"]


def test_photo_clips_have_the_size_and_label_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "photo.png"), rng.integers(0, 256, (80, 120, 3), np.uint8))
    writer = cv2.VideoWriter(str(tmp_path / "video.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))  # type: ignore[attr-defined]
    for _ in range(20):
        writer.write(rng.integers(0, 256, (64, 96, 3), np.uint8))
    writer.release()
    photos = photo_clips.load_photos(tmp_path)
    for index, label in enumerate(LABELS):
        variant = photo_clips.VARIANTS[index % len(photo_clips.VARIANTS)]
        clip = photo_clips.photo_clip(rng, photos, label, variant)
        assert clip.frames.shape == (16, *variant.size, 3)
        assert clip.label == label


def test_photo_clips_need_a_photograph_and_a_video(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one photograph and one video"):
        photo_clips.load_photos(tmp_path)
