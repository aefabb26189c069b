"""Every command of docs/teach.md is run, with videos and a camera in the places that it names."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from engines.storage.bundle import DEMO
from tests.archive.recordings import WINDOW_S, write_frames
from tests.consumer.processes import consume
from tests.in_process import run_here
from tests.live_server import ROOT, serving
from tests.teaching.motions import film, write_videos

BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/teach.md").read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for block in BLOCKS for line in block.splitlines()]
FPS = 6
CLIP_FRAMES = round(WINDOW_S * FPS)
SHOWN = {"waving": "circle", "nodding": "pulse", "background": "empty"}


def commands(recipe: str) -> list[list[str]]:
    return [words[1:] for words in COMMANDS if words[0] == recipe]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the clips of the page, those of the next day, and an empty directory for heads."""
    place = tmp_path_factory.mktemp("place")
    os.environ["VJEPA_ANSWERS"] = str(place / "answers")
    for label, motion in SHOWN.items():
        write_videos(place / "clips" / label, motion, 6, fps=FPS)
        write_videos(place / "tomorrow" / label, motion, 2, first_seed=50, fps=FPS)
    return place


def test_every_command_is_of_a_recipe_that_is_run_here() -> None:
    assert {words[0] for words in COMMANDS} == {"teach", "evaluate", "serve", "consume"}


async def test_from_clips_to_an_alarm(place: Path) -> None:
    heads = ["--heads", str(place / "heads")]
    taught = commands("teach")
    assert len(taught) == 2
    for name, clips, *options in taught:
        bundle = [] if "--bundle" in options else ["--bundle", str(DEMO)]
        told = run_here("teaching", name, str(place / clips), *options, *bundle, *heads)
        assert told.returncode == 0, told.stderr
    [[videos, *options]] = commands("evaluate")
    told = run_here("evaluation", str(place / videos), *options, *heads, "--bundle", str(DEMO), "--json")
    assert json.loads(told.stdout)["subjects"][0]["top1"]["count"] >= 5
    [[_, *options]] = commands("consume")
    recording = place / "camera.mp4"
    # Three clips of a camera, of which each shows the action once.
    write_frames(recording, np.concatenate([film(SHOWN["waving"], seed, CLIP_FRAMES) for seed in (60, 61, 62)]), FPS)
    [arguments] = commands("serve")
    with serving(DEMO, *arguments, *heads) as service:
        ended = await consume(recording, *options, "--service-url", service.url)
    assert ended.code == 0
    events = [json.loads(line) for line in ended.output]
    assert {event["label"] for event in events} == {"waving"}
