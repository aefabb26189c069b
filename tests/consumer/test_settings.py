from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from consumer.config.flags import parse_settings
from consumer.config.settings import Output, Sampling, Service, Settings
from consumer.feeds.reader import Reading
from consumer.output.events import Rules
from consumer.output.evidence import EvidenceRules
from consumer.output.retention import Retention
from consumer.sources.ffmpeg import Link
from consumer.sources.source import parse_source

# The object that a setting is in, its field, and how it is set.
GIVEN = {
    ("service", "url"): ("--service-url", "VJEPA_SERVICE_URL", "https://gpu:1234/vjepa", "https://gpu:1234/vjepa"),
    ("service", "encoding"): ("--encoding", "VJEPA_CONSUMER_ENCODING", "jpeg", "jpeg"),
    ("service", "jpeg_quality"): ("--jpeg-quality", "VJEPA_CONSUMER_JPEG_QUALITY", "75", 75),
    ("service", "top_k"): ("--top-k", "VJEPA_CONSUMER_TOP_K", "3", 3),
    ("service", "model"): ("--model", "VJEPA_CONSUMER_MODEL", "yard", "yard"),
    ("service", "head"): ("--head", "VJEPA_CONSUMER_HEAD", "door", "door"),
    ("service", "wait_s"): ("--wait", "VJEPA_CONSUMER_WAIT", "0", 0.0),
    ("service", "timeout_s"): ("--timeout", "VJEPA_CONSUMER_TIMEOUT", "1.5", 1.5),
    ("service", "retries"): ("--retries", "VJEPA_CONSUMER_RETRIES", "0", 0),
    ("service", "sending"): ("--transport", "VJEPA_CONSUMER_TRANSPORT", "stream", "stream"),
    ("service", "still"): ("--still", "VJEPA_CONSUMER_STILL", "skip", "skip"),
    ("service", "still_check"): ("--still-check", "VJEPA_CONSUMER_STILL_CHECK", "0.1", 0.1),
    ("service", "still_threshold"): ("--still-threshold", "VJEPA_CONSUMER_STILL_THRESHOLD", "9.5", 9.5),
    ("service", "weight"): ("--weight", "VJEPA_CONSUMER_WEIGHT", "2.5", 2.5),
    ("service", "in_flight"): ("--in-flight", "VJEPA_CONSUMER_IN_FLIGHT", "9", 9),
    ("service", "queue"): ("--queue", "VJEPA_CONSUMER_QUEUE", "7", 7),
    ("sampling", "fps"): ("--fps", "VJEPA_CONSUMER_FPS", "7.5", 7.5),
    ("sampling", "frames"): ("--frames", "VJEPA_CONSUMER_FRAMES", "64", 64),
    ("sampling", "clip_stride"): ("--clip-stride", "VJEPA_CONSUMER_CLIP_STRIDE", "4", 4),
    ("sampling", "max_gap_s"): ("--max-gap", "VJEPA_CONSUMER_MAX_GAP", "2.5", 2.5),
    ("sampling", "short_edge_px"): ("--short-edge", "VJEPA_CONSUMER_SHORT_EDGE", "438", 438),
    ("reading", "backend"): ("--backend", "VJEPA_CONSUMER_BACKEND", "deepstream", "deepstream"),
    ("reading", "longest_pause_s"): ("--reconnect-max", "VJEPA_CONSUMER_RECONNECT_MAX", "2", 2.0),
    ("reading", "image_fps"): ("--image-fps", "VJEPA_CONSUMER_IMAGE_FPS", "12", 12.0),
    ("reading.link", "transport"): ("--rtsp-transport", "VJEPA_CONSUMER_RTSP_TRANSPORT", "udp", "udp"),
    ("reading.link", "silence_s"): ("--silence-timeout", "VJEPA_CONSUMER_SILENCE_TIMEOUT", "4", 4.0),
    ("output", "save_clips"): ("--save-clips", "VJEPA_CONSUMER_SAVE_CLIPS", "clips", Path("clips")),
    ("output.evidence", "directory"): ("--evidence", "VJEPA_CONSUMER_EVIDENCE", "actions", Path("actions")),
    ("output.evidence", "before_s"): ("--evidence-before", "VJEPA_CONSUMER_EVIDENCE_BEFORE", "2.5", 2.5),
    ("output.evidence", "after_s"): ("--evidence-after", "VJEPA_CONSUMER_EVIDENCE_AFTER", "0", 0.0),
    ("output.retention", "keep_days"): ("--keep-days", "VJEPA_CONSUMER_KEEP_DAYS", "30", 30.0),
    ("output.retention", "keep_mb"): ("--keep-mb", "VJEPA_CONSUMER_KEEP_MB", "500", 500.0),
    ("output", "metrics_port"): ("--metrics-port", "VJEPA_CONSUMER_METRICS_PORT", "9100", 9100),
    ("output", "metrics_host"): ("--metrics-host", "VJEPA_CONSUMER_METRICS_HOST", "0.0.0.0", "0.0.0.0"),
    ("output", "events"): ("--events", "VJEPA_CONSUMER_EVENTS", "http://hook/x", ("http://hook/x",)),
    ("output", "log_format"): ("--log-format", "VJEPA_CONSUMER_LOG_FORMAT", "json", "json"),
    ("output.rules", "threshold"): ("--event-threshold", "VJEPA_CONSUMER_EVENT_THRESHOLD", "0.25", 0.25),
    ("output.rules", "clips"): ("--event-clips", "VJEPA_CONSUMER_EVENT_CLIPS", "5", 5),
    ("output.rules", "timeout_s"): ("--event-timeout", "VJEPA_CONSUMER_EVENT_TIMEOUT", "5", 5.0),
    ("output.rules", "labels"): ("--event-label", "VJEPA_CONSUMER_EVENT_LABEL", "Falling down", ("Falling down",)),
}
# Not set by a flag of one value.
OTHERS = {
    ("reading", "file_threads"),
    ("output", "evidence"),
    ("output", "retention"),
    ("service", "api_key"),
    ("output", "json"),
    ("output", "rules"),
    ("reading", "link"),
}


def value_of(settings: Settings, place: tuple[str, str]) -> object:
    part: object = settings
    for name in (*place[0].split("."), place[1]):
        part = getattr(part, name)
    return part


def test_defaults() -> None:
    assert parse_settings(["a.mp4"], {}) == Settings(sources=(parse_source("a.mp4"),))
    assert Settings(()).sampling.fps == 3
    assert Settings(()).service.url == "http://localhost:8000"


@pytest.mark.parametrize("place", GIVEN)
def test_each_setting_has_a_flag_and_a_variable(place: tuple[str, str]) -> None:
    flag, variable, text, value = GIVEN[place]
    assert value_of(parse_settings(["a.mp4", flag, text], {}), place) == value
    assert value_of(parse_settings(["a.mp4"], {variable: text}), place) == value


def test_flag_overrides_variable() -> None:
    assert parse_settings(["a.mp4", "--fps", "2"], {"VJEPA_CONSUMER_FPS": "5"}).sampling.fps == 2


def test_table_covers_every_setting() -> None:
    parts = {"service": Service, "sampling": Sampling, "reading": Reading, "reading.link": Link, "output": Output,
             "output.rules": Rules, "output.evidence": EvidenceRules, "output.retention": Retention}  # fmt: skip
    all_of_them = {(name, each.name) for name, part in parts.items() for each in fields(part)}
    # What --head implies for the events.
    assert GIVEN.keys() | OTHERS | {("output.rules", "unknown")} == all_of_them


@pytest.mark.parametrize(
    "arguments",
    [
        ["door=rtsp://user:pass@a/1", "back yard=udp://0.0.0.0:5004?codec=h264"],
        ["rtsp://user:pass@a/1", "udp://0.0.0.0:5004?codec=h264", "--name", "door", "--name", "back yard"],
    ],
)
def test_sources_have_the_names_that_they_are_given(arguments: list[str]) -> None:
    sources = parse_settings(arguments, {}).sources
    assert [(each.name, each.location) for each in sources] == [
        ("door", "rtsp://user:pass@a/1"),
        ("back yard", "udp://0.0.0.0:5004?codec=h264"),
    ]
    environment = {"VJEPA_CONSUMER_SOURCES": "door=rtsp://user:pass@a/1 'back yard=udp://0.0.0.0:5004?codec=h264'"}
    assert parse_settings([], environment).sources == sources


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weight", "0"], "--weight: '0' is not a number from 0.01 to 100"),
        (["--weight", "2", "--transport", "clips"], "--weight needs --transport stream"),
        (["--weight", "2", "--encoding", "json"], "--weight needs --transport stream"),
        (["--still-threshold", "256"], "--still-threshold: '256' is not a number from 0 to 255"),
    ],
)
def test_what_streams_cannot_have_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["a.mp4", *arguments], {})
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rtsp://a/1", "rtsp://a/2", "--name", "door"], "there are 1 --name for 2 sources; accepted: one for each"),
        (["door=rtsp://a/1", "door=rtsp://a/2"], "several sources are named 'door'; accepted: a name of its own"),
        (["rtsp://a/1", "--name", "a\nb"], "'a\\nb' is not a name; accepted: "),
    ],
)
def test_names_that_do_not_fit_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_settings(arguments, {})
    assert message in capsys.readouterr().err


def test_a_file_whose_name_contains_an_equals_sign_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "door=camera.sdp").touch()
    files = parse_settings(["door=camera.sdp", "a=b.mp4"], {}).sources
    assert [each.location for each in files] == ["door=camera.sdp", "a=b.mp4"]
    assert parse_settings(["door=other.sdp"], {}).sources[0].location == "other.sdp"


def test_several_files_are_decoded_in_one_thread_each() -> None:
    assert parse_settings(["a.mp4"], {}).reading.file_threads == 0
    assert parse_settings(["a.mp4", "b.mp4"], {}).reading.file_threads == 1
    assert parse_settings(["a.mp4", "rtsp://a/1"], {}).reading.file_threads == 0


def test_sources_may_come_from_the_environment() -> None:
    environment = {"VJEPA_CONSUMER_SOURCES": "rtsp://a/1 'my clip.mp4'"}
    assert [source.location for source in parse_settings([], environment).sources] == ["rtsp://a/1", "my clip.mp4"]
    assert [source.location for source in parse_settings(["b.mp4"], environment).sources] == ["b.mp4"]


def test_several_values_in_one_variable() -> None:
    settings = parse_settings(["a.mp4"], {"VJEPA_CONSUMER_EVENTS": "[stdout, mqtt://broker/topic]"})
    assert settings.output.events == ("stdout", "mqtt://broker/topic")
    several = parse_settings(["a.mp4", "--events", "stdout", "--events", "http://hook"], {})
    assert several.output.events == ("stdout", "http://hook")


def test_the_key_comes_from_the_environment_and_is_not_shown() -> None:
    settings = parse_settings(["a.mp4"], {"VJEPA_API_KEY": "secret"})
    assert settings.service.api_key == "secret"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False), ("", False)])
def test_false_in_the_environment_is_false(text: str, value: bool) -> None:
    assert parse_settings(["a.mp4"], {"VJEPA_CONSUMER_JSON": text}).output.json is value


def test_json_flag_overrides_variable_both_ways() -> None:
    assert parse_settings(["a.mp4", "--no-json"], {"VJEPA_CONSUMER_JSON": "1"}).output.json is False
    assert parse_settings(["a.mp4", "--json"], {"VJEPA_CONSUMER_JSON": "0"}).output.json is True


def test_an_empty_variable_is_an_unset_one() -> None:
    assert parse_settings(["a.mp4"], {"VJEPA_CONSUMER_FPS": ""}).sampling.fps == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: SOURCE"),
        (["--fps", "0"], "--fps: '0' is not a number from 0.01 to 240"),
        (["--fps", "nan"], "--fps: 'nan' is not a number from 0.01 to 240"),
        (["--fps", "fast"], "--fps: 'fast' is not a number from 0.01 to 240"),
        (["--frames", "0"], "--frames: '0' is not a whole number from 1 to 256"),
        (["--frames", "1.5"], "--frames: '1.5' is not a whole number from 1 to 256"),
        (["--short-edge", "31"], "--short-edge: '31' is not 0 or a whole number from 32 to 4320"),
        (["--top-k", "0"], "--top-k: '0' is not a whole number from 1 to 10000"),
        (["--wait", "-1"], "--wait: '-1' is not a number from 0 to 86400"),
        (["--timeout", "0"], "--timeout: '0' is not a number from 0.1 to 3600"),
        (["--retries", "x"], "--retries: 'x' is not a whole number from 0 to 100"),
        (["--service-url", "localhost:8000"], "--service-url: 'localhost:8000' is not an http:// or https:// URL"),
        (["--service-url", "http://["], "--service-url: 'http://[' is not an http:// or https:// URL"),
        (["--log-format", "xml"], "--log-format: 'xml' is not one of text, json"),
        (["rtmp://camera/1"], "SOURCE: rtmp:// is not supported; accepted: the path of a video file"),
        (["udp://camera"], "'udp://camera' has no port"),
        (["udp://camera:5000?codec=theora"], "codec 'theora' is not supported; accepted: h264, h265"),
        (["udp://camera:5000?codec=h264&payload=300"], "payload '300' is not an RTP payload type"),
        (
            ["--events", "kafka://x/y"],
            "'kafka://x/y' is not a target for events: kafka is not supported; accepted: stdout",
        ),
        (["--events", "mqtt://broker"], "'mqtt://broker' is not a target for events"),
        (["--clip-stride", "0"], "--clip-stride: '0' is not a whole number from 1 to 100000"),
        (["--js"], "there is no flag --js; did you mean --json?"),
    ],
)
def test_invalid_argument_gives_two_lines(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = ["a.mp4"] if arguments else []
    with pytest.raises(SystemExit) as ended:
        parse_settings([*source, *arguments], {})
    assert ended.value.code == 2
    line, help_line = capsys.readouterr().err.splitlines()
    assert said in line
    assert re.fullmatch(r"help: `.* --help` explains all arguments", help_line)


def test_invalid_variable_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    for variable in ("VJEPA_CONSUMER_FPS", "VJEPA_CONSUMER_JSON"):
        with pytest.raises(SystemExit):
            parse_settings(["a.mp4"], {variable: "maybe"})
        assert "maybe" in capsys.readouterr().err
