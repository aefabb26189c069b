"""Every command of README, word for word, in a clean clone with only ``.venv/bin/just`` and the system's programs.

Not run here: the installation, which CI does with the same line, the tests themselves, and the containers, which
tests/test_docker.py checks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import imageio_ffmpeg
import pytest

from tests.consumer.senders import rtsp_server
from tests.live_server import ROOT
from tests.newcomer import Clone, clone_into

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
INSTALLATION = "python3 -m venv .venv && .venv/bin/pip install -qc requirements.lock rust-just && "
REQUESTS = [block for block in BLOCKS if block.startswith(("curl", "ffmpeg", "python3 -c"))]
DEMO = [".venv/bin/just demo", ".venv/bin/just demo --save sample.mp4"]
SERVE = ".venv/bin/just serve"
CONSUME_FILE = ".venv/bin/just consume sample.mp4"
CONSUME_CAMERA = ".venv/bin/just consume rtsp://camera.local/stream1"
EXPORT = ".venv/bin/just export facebook/vjepa2-vitl-fpc16-256-ssv2"
TESTS = ".venv/bin/just test"
# JPEG, and the order in which ffmpeg and the consumer convert and shrink, change the pixels a little.
SAME_CONFIDENCE = 0.01
INTERRUPTED = 130


@dataclass(frozen=True)
class Session:
    """A terminal in a clone in which README's commands are typed; ``variables`` place the service on a free port."""

    clone: Clone
    variables: dict[str, str]

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run ``command`` to its end, which must be good."""
        ended = self.clone.run(command.replace("localhost:8000", self.address), **self.variables)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
        return ended

    @property
    def address(self) -> str:
        return self.variables["VJEPA_SERVICE_URL"].removeprefix("http://")

    @contextlib.contextmanager
    def running(self, command: str, until: str, **more: str) -> Iterator[str]:
        """Run ``command`` during the block; the value is what it printed until a line with ``until``."""
        process = subprocess.Popen(
            command.split(),
            cwd=self.clone.path,
            env=self.clone.environment(**self.variables | more),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            printed = cast(IO[str], process.stderr)
            lines: list[str] = []
            for line in printed:
                lines.append(line)
                if until in line:
                    break
            else:
                pytest.fail("".join(lines))
            yield "".join(lines)
            # As a terminal does on Ctrl-C: to just and to the program.
            os.killpg(process.pid, signal.SIGINT)
            printed.read()
            assert process.wait(60) in (0, INTERRUPTED)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Any) -> Session:
    """In the clone are sample.mp4, which README's own command keeps, and an ffmpeg."""
    clone = clone_into(tmp_path_factory.mktemp("clone"))
    programs = tmp_path_factory.mktemp("bin")
    (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    port = str(unused_tcp_port_factory())
    path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
    return Session(clone, {"VJEPA_PORT": port, "VJEPA_SERVICE_URL": f"http://localhost:{port}", "PATH": path})


@pytest.fixture(scope="module")
def sample(session: Session) -> str:
    """What README's command prints that keeps the sample."""
    return session.type(DEMO[1]).stdout


@pytest.fixture(scope="module")
def service(session: Session, sample: str) -> Iterator[Session]:
    with session.running(SERVE, until='"ready"'):
        yield session


def test_no_command_of_readme_is_left_out() -> None:
    known = {*DEMO, SERVE, CONSUME_FILE, CONSUME_CAMERA, EXPORT, INSTALLATION + DEMO[0], INSTALLATION + TESTS}
    requests = {line for block in REQUESTS for line in block.splitlines()}
    others = [line for line in LINES if line not in known | requests and not line.startswith("docker-compose ")]
    assert others == []
    assert known - set(LINES) == {DEMO[0]}
    assert len(REQUESTS) == 4


def test_demo_recognises_the_sample_and_keeps_it(session: Session, sample: str) -> None:
    assert "Right: the motion drawn came first." in sample
    kept = (session.clone.path / "sample.mp4").read_bytes()
    assert kept == (ROOT / "export/demo/sample.mp4").read_bytes()
    assert len(kept) <= 200_000
    assert "Right: the motion drawn came first." in session.type(DEMO[0]).stdout


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_every_route_answers_the_same_for_the_sample(service: Session) -> None:
    """Images, JSON and pixels by curl, and the consumer."""
    printed = [service.type(block).stdout for block in REQUESTS]
    answers = [json.loads(text) for text in printed if text]
    assert len(answers) == 3
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0])
    assert all(answer.keys() == shown.keys() for answer in answers)
    consumed = service.type(f"{CONSUME_FILE} --json").stdout
    answers += [json.loads(consumed.splitlines()[0]), shown]
    best = [answer["predictions"][0] for answer in answers]
    assert {prediction["label"] for prediction in best} == {"Moving something up"}
    confidences = [prediction["confidence"] for prediction in best]
    assert max(confidences) - min(confidences) < SAME_CONFIDENCE, confidences


def test_consumer_watches_a_camera(service: Session) -> None:
    with rtsp_server() as camera:
        command = CONSUME_CAMERA.replace("rtsp://camera.local/stream1", camera.url)
        # Sixteen frames at three a second would take five seconds.
        with service.running(command, until=" clip ", VJEPA_CONSUMER_FPS="15") as printed:
            assert "label=" in printed


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed")
def test_export_gives_the_bundle_that_is_served_next(session: Session, odd_checkpoint: Path, tmp_path: Path) -> None:
    """The hub's cache holds a small checkpoint under the name that README exports."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    model = EXPORT.split()[-1]
    cached = tmp_path / f"models--{model.replace('/', '--')}"
    shutil.copytree(odd_checkpoint, cached / "snapshots" / revision)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    hub = {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    exported = Session(session.clone, session.variables | hub).type(EXPORT)
    (command,) = re.findall(r"^serve it +(.*)$", exported.stdout, re.MULTILINE)
    assert command.startswith(".venv/bin/just serve ")
    with session.running(SERVE, until='"ready"', VJEPA_PORT="0") as printed:
        (chosen,) = (entry for entry in map(json.loads, printed.splitlines()) if entry["event"] == "bundle chosen")
        assert Path(chosen["bundle"]).name.startswith(model.split("/")[1])
        assert chosen["reason"] == "the newest verified bundle that runs here"
