from __future__ import annotations

import pytest

from consumer.settings import Settings, parse_settings

GIVEN = {
    "service_url": ("--service-url", "VJEPA_SERVICE_URL", "https://gpu:1234/vjepa", "https://gpu:1234/vjepa"),
    "fps": ("--fps", "VJEPA_CONSUMER_FPS", "7.5", 7.5),
    "frames": ("--frames", "VJEPA_CONSUMER_FRAMES", "64", 64),
    "short_edge_px": ("--short-edge", "VJEPA_CONSUMER_SHORT_EDGE", "438", 438),
    "top_k": ("--top-k", "VJEPA_CONSUMER_TOP_K", "3", 3),
    "wait_s": ("--wait", "VJEPA_CONSUMER_WAIT", "0", 0.0),
    "timeout_s": ("--timeout", "VJEPA_CONSUMER_TIMEOUT", "1.5", 1.5),
    "retries": ("--retries", "VJEPA_CONSUMER_RETRIES", "0", 0),
    "log_format": ("--log-format", "VJEPA_CONSUMER_LOG_FORMAT", "json", "json"),
}


def test_defaults() -> None:
    assert parse_settings(["a.mp4"], {}) == Settings(source="a.mp4")


@pytest.mark.parametrize("field", GIVEN)
def test_each_setting_has_a_flag_and_a_variable(field: str) -> None:
    flag, variable, text, value = GIVEN[field]
    assert getattr(parse_settings(["a.mp4", flag, text], {}), field) == value
    assert getattr(parse_settings(["a.mp4"], {variable: text}), field) == value
    assert getattr(parse_settings(["a.mp4", flag, text], {variable: "5"}), field) == value


def test_every_setting_is_covered_here() -> None:
    assert {*GIVEN, "source", "json"} == set(Settings.__dataclass_fields__)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False), ("", False)])
def test_false_in_the_environment_is_false(text: str, value: bool) -> None:
    assert parse_settings(["a.mp4"], {"VJEPA_CONSUMER_JSON": text}).json is value


def test_the_flag_beats_the_environment_both_ways() -> None:
    assert parse_settings(["a.mp4", "--no-json"], {"VJEPA_CONSUMER_JSON": "1"}).json is False
    assert parse_settings(["a.mp4", "--json"], {"VJEPA_CONSUMER_JSON": "0"}).json is True


def test_an_empty_variable_is_an_unset_one() -> None:
    assert parse_settings(["a.mp4"], {"VJEPA_CONSUMER_FPS": ""}).fps == 3


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
        (["--wait", "-1"], "--wait: '-1' is not a number from 0 to 3600"),
        (["--timeout", "0"], "--timeout: '0' is not a number from 0.1 to 3600"),
        (["--retries", "x"], "--retries: 'x' is not a whole number from 0 to 100"),
        (["--service-url", "localhost:8000"], "--service-url: 'localhost:8000' is not an http:// or https:// URL"),
        (["--service-url", "http://["], "--service-url: 'http://[' is not an http:// or https:// URL"),
        (["--log-format", "xml"], "--log-format: invalid choice: 'xml'"),
        (["--js"], "unrecognized arguments: --js"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["a.mp4"] if arguments else []
    with pytest.raises(SystemExit) as ended:
        parse_settings([*source, *arguments], {})
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.endswith("; help: see python -m consumer --help")


def test_a_wrong_variable_is_refused_too(capsys: pytest.CaptureFixture[str]) -> None:
    for variable in ("VJEPA_CONSUMER_FPS", "VJEPA_CONSUMER_JSON"):
        with pytest.raises(SystemExit):
            parse_settings(["a.mp4"], {variable: "maybe"})
        assert "maybe" in capsys.readouterr().err
