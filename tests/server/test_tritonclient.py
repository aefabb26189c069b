"""NVIDIA's own client, in an environment of its own, because its pins do not fit ours."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.live_server import ROOT, LiveServer, serving
from tests.server.demo_bundles import demo_copies

CLIENT = "tritonclient[http]==2.73.0"
# Its wheel is built for this libc and newer ones; on older ones pip installs a placeholder without a program.
PERF_ANALYZER, PERF_ANALYZER_GLIBC = "perf-analyzer==2.60.0", (2, 38)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an environment with the client, made once for all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "triton"
    with FileLock(path.with_suffix(".lock")):
        if not (path / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", str(path)], check=True, capture_output=True)
            _install(path, CLIENT)
            (path / "complete").touch()
    return path


def _install(environment: Path, package: str) -> None:
    """Install ``package``, or skip the test where no registry has it."""
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", package]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=250, check=False)
    if done.returncode:
        pytest.skip(f"{package} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")


def _glibc() -> tuple[int, ...]:
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" and version else (0,)


@pytest.fixture
def server(batch_bundle: Path) -> object:
    with serving(batch_bundle, "--v2-shared-memory") as server:
        yield server
        assert server.stop() == 0
    assert not [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]


def test_every_call_of_both_clients_works(environment: Path, server: LiveServer) -> None:
    command = [str(environment / "bin" / "python"), str(Path(__file__).with_name("triton_calls.py")), server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2:] == ["sync: all calls", "asyncio: all calls"]


def test_the_client_loads_and_unloads_models(environment: Path, tmp_path: Path) -> None:
    models, keys = demo_copies(tmp_path / "models"), tmp_path / "keys"
    keys.write_text("a-key\n")
    script = str(Path(__file__).with_name("triton_repository.py"))
    with serving(models, "--api-key-file", str(keys)) as server:
        command = [str(environment / "bin" / "python"), script, server.url, "a-key"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, cwd=ROOT)
        assert (done.returncode, done.stdout) == (0, "all calls\n"), done.stdout + done.stderr
        assert server.stop() == 0


@pytest.mark.skipif(
    _glibc() < PERF_ANALYZER_GLIBC,
    reason=f"perf_analyzer needs glibc 2.38; this system has {'.'.join(map(str, _glibc()))}",
)
def test_perf_analyzer_measures_the_service(environment: Path, server: LiveServer) -> None:
    _install(environment, PERF_ANALYZER)
    flags = ["-m", "batch", "-u", server.url.removeprefix("http://"), "--shape", "frames:16,24,32,3", "-b", "2"]
    done = subprocess.run(
        [str(environment / "bin" / "perf_analyzer"), *flags, "--request-count", "20", "--concurrency-range", "2"],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Throughput" in done.stdout
