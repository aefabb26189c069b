"""The images, as far as they can be tested without a container engine; `tests/containers` builds and runs them.

The linter and the schema read the files; the `cpu` image's steps are replayed in an empty directory. The `gpu` image
cannot be: its base is NVIDIA's container. Of it is tested what it would install.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from packaging.requirements import Requirement

from engines.storage.bundle import DEMO
from server.config.settings import Settings
from tests.docker_replay import Replay, environment, run_command, stages, values
from tests.live_server import ROOT, LiveServer, serving

TOOLS = Path(sys.executable).parent
NVIDIA = "nvcr.io/nvidia/pytorch:25.10-py3"
INSTANCES = ["service-1", "service-2", "service-3"]


def _compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


@pytest.mark.skipif(not (TOOLS / "hadolint").exists(), reason="hadolint has no build for this platform")
def test_the_linter_finds_nothing() -> None:
    linted = run_command(str(TOOLS / "hadolint"), str(ROOT / "Dockerfile"))
    assert (linted.returncode, linted.stdout) == (0, "")


def test_what_is_run_is_no_root_is_watched_and_is_on_8000() -> None:
    images = stages()
    assert list(images)[-1] == "gpu"
    assert (images["gpu"][0], images["gpu-build"][0]) == (NVIDIA, NVIDIA)
    assert re.fullmatch(r"python:3\.\d+-slim", images["cpu"][0])
    for stage in ("cpu", "gpu"):
        (user,) = values(stage, "USER")
        assert int(user) > 0
        assert values(stage, "EXPOSE") == ["8000"]
        assert environment(stage)["VJEPA_PORT"] == "8000"
        assert len(values(stage, "HEALTHCHECK")) == 1


def test_the_service_cannot_change_its_code() -> None:
    """Root owns what is copied; the service's user owns the bundles, and in images that export the hub's cache."""
    for stage in ("cpu", "export-cpu", "gpu"):
        owned = {value.split()[-1] for value in values(stage, "COPY") if "--chown" in value}
        assert owned == {"/app/engines/bundles"}
        (made,) = values(stage, "RUN")
        given = set(re.findall(r"--owner=service \S+ (\S+)", made))
        assert given == (set() if stage == "cpu" else {"/var/cache/huggingface"})
        assert "chown" not in made
        assert not environment(stage).keys() & {"HOME", "PYTHONPATH"}


def test_the_context_has_what_is_copied() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in ("cpu-install", "gpu-build"):
        sources = {source for value in values(stage, "COPY") for source in value.split()[:-1]}
        assert sources <= let_in
        assert all((ROOT / source).exists() for source in sources)


def test_a_container_is_healthy_as_long_as_its_service_is() -> None:
    with serving(DEMO) as server:
        environment = os.environ | {"VJEPA_PORT": server.url.rsplit(":", 1)[1]}
        check = (sys.executable, "-m", "server.healthcheck")
        assert run_command(*check, cwd=ROOT, env=environment).returncode == 0
        assert server.stop() == 0
        dead = run_command(*check, cwd=ROOT, env=environment)
    assert dead.returncode == 1
    assert "no answer" in dead.stdout


def _skip_without_a_registry() -> None:
    options = ("--dry-run", "--ignore-installed", "--no-deps", "--quiet")
    if run_command(sys.executable, "-m", "pip", "install", *options, "idna").returncode:
        pytest.skip("pip reaches no registry")


# --- what NVIDIA's container gets


def test_entry_point_of_nvidia_s_container_is_kept() -> None:
    """It selects the container's CUDA libraries where the machine's driver is older than they are."""
    entrypoint = "/opt/nvidia/nvidia_entrypoint.sh"
    assert json.loads(values("gpu", "ENTRYPOINT")[0]) == [entrypoint, "python", "-m", "server"]
    assert _compose()["services"]["export"]["entrypoint"] == [entrypoint, "python", "-m", "export"]


def _constraints() -> Any:
    spec = importlib.util.spec_from_file_location("constraints", ROOT / "deploy/constraints.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _needed(asked: list[str]) -> dict[str, Requirement]:
    """Every distribution that ``asked`` brings, by what those that are installed here say they need."""
    needed: dict[str, Requirement] = {}
    while asked:
        requirement = Requirement(asked.pop())
        if requirement.name not in needed and _is_for(requirement, ("",)):
            needed[requirement.name] = requirement
            further = (Requirement(line) for line in requires(requirement.name) or ())
            asked += [str(each) for each in further if _is_for(each, ("", *requirement.extras))]
    return needed


def _depends_on_the_container(asked: str) -> bool:
    """Whether it takes numpy or replaces what is there; the others are the lock's, which agree with each other.

    Transformers is left out, because it takes any numpy from 1.17 on and brings forty distributions.
    """
    needed = _needed([asked])
    return "nvidia-ml-py" in needed or ("numpy" in needed and "transformers" not in needed)


def _is_for(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def test_nothing_that_the_container_has_is_asked_for() -> None:
    """Its torch calls itself 2.9.0a0, which is no 2.9: a requirement of torch would replace it."""
    constraints = _constraints()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["container"]]
    needed = {constraints.normal(name) for name in _needed(asked)}
    assert {"aiohttp", "onnx", "transformers", "nvidia-ml-py"} <= needed
    assert {name for name in needed if constraints.is_kept(name)} == {"numpy"}


def test_what_the_container_has_is_pinned_and_the_rest_is_the_lock_s() -> None:
    installed = {"torch": "2.9.0a0+145a3a7bda.nv25.10", "numpy": "2.1.0", "tensorrt": "10.13.3.9", "aiohttp": "3.9.0"}
    lock = ["aiohttp==3.14.5", "numpy==2.4.6 ; python_full_version < '3.12'", "numpy==2.5.5", "torch==2.13.0"]
    lines = list(_constraints().constraints(installed, lock))
    assert lines == ["numpy==2.1.0", "tensorrt==10.13.3.9", "torch==2.9.0a0+145a3a7bda.nv25.10", "aiohttp==3.14.5"]


def test_old_nvidia_ml_py_of_the_container_is_replaced() -> None:
    lines = list(_constraints().constraints({"nvidia-ml-py": "12.575.51"}, ["nvidia-ml-py==13.615.71"]))
    assert lines == ["nvidia-ml-py==13.615.71"]


@pytest.mark.parametrize("numpy", ["1.26.4", "2.1.0"])
def test_what_the_container_lacks_can_be_installed_beside_either_numpy(numpy: str, tmp_path: Path) -> None:
    _skip_without_a_registry()
    container = {"numpy": numpy, "nvidia-ml-py": "12.575.51", "tensorrt": "10.13.3.9", "torch": "2.9.0a0+nv25.10"}
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    (tmp_path / "constraints.txt").write_text("\n".join(_constraints().constraints(container, lock)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["container"]]
    (tmp_path / "asked.txt").write_text("\n".join(line for line in asked if _depends_on_the_container(line)))
    options = ("--dry-run", "--ignore-installed", "--quiet", "--report", str(tmp_path / "report.json"))
    files = ("--constraint", str(tmp_path / "constraints.txt"), "--requirement", str(tmp_path / "asked.txt"))
    resolved = run_command(sys.executable, "-m", "pip", "install", *options, *files)
    assert resolved.returncode == 0, resolved.stderr
    installed = json.loads((tmp_path / "report.json").read_text())["install"]
    versions = {each["metadata"]["name"]: each["metadata"]["version"] for each in installed}
    assert versions["numpy"] == numpy
    assert versions["nvidia-ml-py"].startswith("13.")


def test_a_replaced_torch_fails_the_build() -> None:
    venv, system = Path("/opt/venv/lib"), Path("/usr/local/lib")
    replaced = _constraints().replaced
    assert replaced([("torch", system), ("aiohttp", system), ("aiohttp", venv)], Path("/opt/venv")) == []
    assert replaced([("torch", system), ("torch", venv)], Path("/opt/venv")) == ["torch"]


# --- docker-compose.yml


def test_the_compose_file_is_one() -> None:
    checked = run_command(
        str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml", cwd=ROOT
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    if compose := shutil.which("docker-compose"):
        read = run_command(compose, "--file", "docker-compose.yml", "config", "--services", cwd=ROOT)
        assert read.returncode == 0, read.stderr
        assert {"service", "export", "export-cpu", "service-cpu", "prometheus", "grafana"} <= set(read.stdout.split())


def test_three_instances_stand_behind_haproxy() -> None:
    """Each on a GPU of its own, or on a CPU; only HAProxy is published, and it knows all of them by their names."""
    command = (str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "deploy/fleet-cpu.yml")
    checked = run_command(*command, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    services, on_cpu = _compose()["services"], yaml.safe_load((ROOT / "deploy/fleet-cpu.yml").read_text())["services"]
    fleet, configuration = services["fleet"], (ROOT / "deploy/haproxy.cfg").read_text()
    assert fleet["depends_on"] == INSTANCES == list(on_cpu)
    for number, name in enumerate(INSTANCES, 1):
        assert f"presetenv VJEPA_SERVER_{number} {name}:8000\n" in configuration
    gpus = {services[name]["environment"]["NVIDIA_VISIBLE_DEVICES"] for name in INSTANCES}
    assert len(gpus) == len(INSTANCES)
    for name in INSTANCES:
        instance = services[name]
        assert (instance["profiles"], instance["ports"]) == (["fleet"], [])
        drain_s = int(instance["environment"]["VJEPA_DRAIN_DELAY_S"]) + Settings.drain_timeout_s
        assert int(instance["stop_grace_period"].removesuffix("s")) > drain_s
        assert (on_cpu[name]["image"], on_cpu[name]["runtime"]) == ("vjepa2-serve:cpu", "runc")


def test_the_service_has_its_gpu_its_memory_and_the_time_to_stop() -> None:
    services = _compose()["services"]
    service = services["service"]
    assert (service["runtime"], service["shm_size"]) == ("nvidia", "16gb")
    assert service["build"]["target"] == "gpu"
    assert services["service-cpu"]["build"]["target"] == "cpu"
    for name in ("service", "service-cpu"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > Settings.drain_timeout_s
    assert services["export-cpu"]["build"]["target"] == "export-cpu"
    for name in ("export", "export-cpu"):
        assert services[name]["profiles"] == ["export"]
        assert services[name]["entrypoint"][-3:] == ["python", "-m", "export"]
        assert "hub:/var/cache/huggingface" in services[name]["volumes"]


def test_containers_may_do_only_what_they_need() -> None:
    services = _compose()["services"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", ()):
            assert port.startswith(("127.0.0.1:", "${VJEPA_PUBLISH_ADDRESS:-127.0.0.1}:")), name
    for name in ("service", "service-cpu", *INSTANCES, "export", "export-cpu"):
        assert services[name]["read_only"] is True
        assert {place.split(":")[0] for place in services[name]["tmpfs"]} == {"/tmp", "/home/service"}
        bundles = "bundles:/app/engines/bundles"
        assert services[name]["volumes"][0] == (bundles if name.startswith("export") else f"{bundles}:ro")


def test_gpus_can_be_reserved_without_the_runtime_of_nvidia() -> None:
    checked = run_command(
        str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "deploy/devices.yml", cwd=ROOT
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    reserved = yaml.safe_load((ROOT / "deploy/devices.yml").read_text())["services"]
    for name, service in _compose()["services"].items():
        assert (name in reserved) == (service.get("runtime") == "nvidia")
    for service in reserved.values():
        assert service["runtime"] != "nvidia"
        (devices,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert devices["capabilities"] == ["gpu"]


def test_keys_reach_the_service_and_prometheus() -> None:
    keys = yaml.safe_load((ROOT / "deploy/keys.yml").read_text())["services"]
    command = (str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "deploy/keys.yml")
    checked = run_command(*command, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for name in ("service", "service-cpu", *INSTANCES):
        (mounted,) = keys[name]["volumes"]
        directory = mounted.split("}:")[1].removesuffix(":ro")
        assert keys[name]["environment"] == {"VJEPA_API_KEY_FILE": f"{directory}/keys"}
    scrape = _scrapes()["vjepa2-serve"]
    file = scrape["authorization"]["credentials_file"]
    assert f"/dev/null:{file}:ro" in _compose()["services"]["prometheus"]["volumes"]
    (key,) = keys["prometheus"]["volumes"]
    assert key.endswith(f"}}/prometheus:{file}:ro")


def test_prometheus_needs_a_key_where_there_are_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("right\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        assert [_scraped(server.url, key) for key in ("right", "")] == [200, 401]


def test_empty_key_of_prometheus_is_accepted_where_there_are_no_keys(live_server: LiveServer) -> None:
    assert _scraped(live_server.url, "") == 200


def _scraped(url: str, key: str) -> int:
    """The status of a scrape with ``key``, as Prometheus sends what its file has."""
    try:
        with urlopen(Request(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_what_is_mounted_is_there_and_what_is_scraped_is_a_service() -> None:
    compose = _compose()
    for name, service in compose["services"].items():
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            there = (
                (ROOT / source).exists() if source.startswith("./") else source in (*compose["volumes"], "/dev/null")
            )
            assert there, f"{name}: {source}"
    scrapes = _scrapes()
    for job in scrapes:
        assert job in (ROOT / "deploy/prometheus-alerts.yml").read_text()
    names = set(scrapes["vjepa2-serve"]["dns_sd_configs"][0]["names"])
    assert names == {"service", "service-cpu", *INSTANCES} <= compose["services"].keys()
    assert scrapes["vjepa2-fleet"]["dns_sd_configs"][0]["names"] == ["fleet"]


def test_addresses_of_consumers_are_where_prometheus_looks_for_them() -> None:
    (pattern,) = _scrapes()["vjepa2-consumer"]["file_sd_configs"][0]["files"]
    directory, _, files = pattern.rpartition("/")
    assert f"./deploy/consumers:{directory}:ro" in _compose()["services"]["prometheus"]["volumes"]
    found = list((ROOT / "deploy/consumers").glob(files))
    assert found
    for path in found:
        uncommented = path.read_text().replace("targets: []", "targets:").replace("\n#   - ", "\n    - ")
        ((group,), (empty,)) = (yaml.safe_load(text) for text in (uncommented, path.read_text()))
        assert (group["targets"], empty["targets"]) == (["host.docker.internal:9101"], [])


def _scrapes() -> dict[str, Any]:
    configured = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]
    return {job["job_name"]: job for job in configured}


# --- the cpu image, for real


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    """The `cpu` image, its steps replayed; skipped where pip reaches no registry."""
    _skip_without_a_registry()
    replay = Replay(tmp_path / "image")
    for stage in ("cpu-install", "cpu-build", "cpu"):
        replay.stage(stage)
    return replay


@pytest.mark.timeout(600)
def test_the_cpu_image_serves(replay: Replay) -> None:
    assert len(replay.skipped) == 1
    assert "torch" not in {path.name for path in replay.root.glob("opt/venv/lib/python3*/site-packages/*")}
    entrypoint = json.loads(values("cpu", "ENTRYPOINT")[0])
    health = json.loads(values("cpu", "HEALTHCHECK")[0].split("CMD ")[1])
    environment = replay.environment | {"VJEPA_HOST": "127.0.0.1", "VJEPA_PORT": "0"}
    with subprocess.Popen(
        entrypoint, cwd=replay.directory, env=environment, stderr=subprocess.PIPE, text=True
    ) as service:
        try:
            assert service.stderr
            ready = next(entry for entry in map(json.loads, service.stderr) if entry["event"] == "ready")
            environment["VJEPA_PORT"] = ready["url"].rsplit(":", 1)[1]
            checked = run_command(*health, cwd=replay.directory, env=environment)
            assert (checked.returncode, json.loads(checked.stdout)["model_loaded"]) == (0, True)
            service.terminate()
            assert service.wait(60) == 0
        finally:
            service.kill()
