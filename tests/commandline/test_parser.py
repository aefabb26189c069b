"""The errors of flags and the help of every program."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.in_process import run_here
from tests.live_server import run_module

MODULES = ("server", "export", "consumer", "export.demo.show", "vjepa.doctor")

WRONG = [
    (("server", "--prot", "80"), "there is no flag --prot; did you mean --port?"),
    (("server", "--port", "abc"), "--port: 'abc' is not a whole number from 0 to 65535"),
    (("server", "--port", "65536"), "--port: '65536' is not a whole number from 0 to 65535"),
    (("server", "--canary-s", "of"), "--canary-s: 'of' is not off or a whole number from 0 to 86400"),
    (("server", "--log-format", "jason"), "'jason' is not one of auto, json, text; did you mean json?"),
    (("server", "demo", "--port", "0", "other"), "other must be before the flags"),
    (("server", "demo", "demo"), "are both named demo; give one of them another name, as in NAME=PATH"),
    (("export", "demo", "--presicion", "fp32"), "there is no flag --presicion; did you mean --precision?"),
    (("export", "--target=tensort"), "torch, openvino; did you mean tensorrt?"),
    (("export", "--max-batch", "0"), "--max-batch: '0' is not a whole number from 1 to 64"),
    (("export", "verify", "demo", "--trsut"), "there is no flag --trsut"),
    (("export", "list", "demo"), "demo is one argument too many"),
    (("consumer", "a.mp4", "--fsp", "3"), "there is no flag --fsp; did you mean --fps?"),
    (("consumer",), "the following arguments are required: SOURCE"),
    (("export.demo.show", "--lable", "x"), "there is no flag --lable; did you mean --label?"),
    (("export.demo.show", "--label", "Moving something upp"), "did you mean Moving something up?"),
    (("export.demo.show", "export/demo/sampel.mp4"), "did you mean export/demo/sample.mp4?"),
    (("vjepa.doctor", "--al"), "there is no flag --al"),
    (("vjepa", "sevre"), "there is no command sevre; did you mean serve?"),
]


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The consumer ends its process, also when it is not alone in it.
    return (run_module if module == "consumer" else run_here)(module, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"), WRONG, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_wrong_argument_gives_two_lines_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    ended = _run(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    error, help_line = ended.stderr.splitlines()
    assert error.startswith("ERROR ")
    assert said in error
    assert re.fullmatch(r"help: `.+ --help` (explains all arguments|lists the commands)", help_line)


@pytest.mark.parametrize("module", MODULES)
def test_help_shows_no_default_that_says_nothing(module: str) -> None:
    shown = _run(module, "--help")
    assert shown.returncode == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    assert re.findall(r"\(?default: (?:None|True|False|\(\)|\[\])", text) == []
    assert "==SUPPRESS==" not in text


def test_help_of_the_server_shows_the_defaults_that_say_something() -> None:
    text = " ".join(run_here("server", "--help").stdout.split())
    assert "(default: 8000)" in text
    assert "(default: 30000)" in text
