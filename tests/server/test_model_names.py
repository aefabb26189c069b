"""The names of models: those of their directories, or those that they are given."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engines.storage.bundle import DEMO
from server.config.flags import parse_settings

FLAGS = {
    "a b": {"a": "a", "b": "b"},
    "x=a a": {"x": "a", "a": "a"},
    "all": {"a": "all/a", "b": "all/b"},
    "x=a all": {"x": "a", "a": "all/a", "b": "all/b"},
}


@pytest.mark.parametrize("texts", FLAGS)
def test_models_are_named_after_their_directories_or_as_they_are_told(
    texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "all/a", "all/b"):
        shutil.copytree(DEMO, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    read = parse_settings([*texts.split(), "--model-weights", "a=2.5"])
    assert {model.name: str(model.path) for model in read.models} == FLAGS[texts]
    assert {model.weight for model in read.models if model.name == "a"} == {2.5}
    monkeypatch.setenv("VJEPA_BUNDLE", texts.replace(" ", ","))
    assert parse_settings(["--model-weights", "a=2.5"]) == read


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("demo", "demo"), "are both named demo; give one of them another name, as in NAME=PATH"),
        (("x=demo", "demo", "x=demo"), "are both named x"),
        (("demo", "--model-weights", "other=2"), "there is no model other; the models are demo"),
        (("demo", "--model-weights", "demo=0"), "'0' is not a number from 0.01 to 100"),
        (("demo", "--model-weights", "demo"), "'demo' is not NAME=WEIGHT"),
    ],
)
def test_models_that_cannot_be_told_apart_are_one_line(
    flags: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(flags)
    error, help_line = capsys.readouterr().err.splitlines()
    assert (ended.value.code, told in error) == (2, True), error
    assert help_line.startswith("help: ")
