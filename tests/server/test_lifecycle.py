"""The life of the server from start to stop, as an orchestrator sees it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import msgspec
import onnx
import pytest

from engines import manifest as manifests
from engines.storage.bundle import DEMO
from export.bundling.staging import write_manifest
from export.demo.rendering.clips import Clip
from tests.live_server import ROOT, LiveServer, run_module, serving
from tests.server.requests import raw_body


async def test_health_endpoints_of_a_ready_server(session: aiohttp.ClientSession) -> None:
    expected = {
        "/health": {"status": "healthy", "model_loaded": True},
        "/health/live": {"status": "alive"},
        "/health/ready": {"status": "ready"},
    }
    for path, body in expected.items():
        async with session.get(path) as response:
            assert (response.status, await response.json()) == (200, body)


async def test_index_names_the_model_and_every_endpoint(session: aiohttp.ClientSession) -> None:
    async with session.get("/") as response:
        index = await response.json()
    assert index["service"] == "vjepa2-serve"
    assert index["version"]
    assert (index["model"]["frames"], index["model"]["crop"]) == (16, 64)
    assert index["encodings"] == ["application/json", "application/octet-stream", "multipart/form-data"]
    for endpoint in index["endpoints"]:
        method, path = endpoint.split()
        path = path.format(model=index["model"]["name"], version=1, region="none")
        async with session.request(method, path, json={}) as response:
            assert response.status in (200, 415, 422), path


async def test_loading_server_reports_it_and_a_failed_load_ends_it(tmp_path: Path) -> None:
    network = _bundle_with_stuck_network(tmp_path)
    with serving(tmp_path, "--log-level", "debug", until="listening") as server:
        async with aiohttp.ClientSession(server.url) as session:
            for path in ("/health", "/health/ready", "/api/v1/models", "/openapi.json"):
                async with session.get(path) as response:
                    assert response.status == 503
                    assert "loading" in await response.text()
                    assert path == "/health" or int(response.headers["Retry-After"]) > 0
            async with session.get("/health/live") as response:
                assert response.status == 200
            async with session.post("/api/v1/infer", json={}) as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
        await asyncio.to_thread(network.write_bytes, b"not what the manifest promised")
        assert await asyncio.to_thread(server.wait) == 2
        assert "altered model.onnx" in server.log[-1]["event"]


def test_stop_does_not_wait_for_a_bundle_that_never_loads(tmp_path: Path) -> None:
    _bundle_with_stuck_network(tmp_path)
    with serving(tmp_path, "--log-level", "debug", until="listening") as server:
        assert server.stop() == 0


def test_network_without_probabilities_is_not_served(tmp_path: Path) -> None:
    model = onnx.load(DEMO / "model.onnx")
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "doubled"
    model.graph.node.append(onnx.helper.make_node("Add", ["doubled", "doubled"], [output]))
    onnx.save(model, tmp_path / "model.onnx")
    _write_manifest(tmp_path)
    refused = run_module("server", str(tmp_path), "--port", "0", "--log-format", "text", "--log-level", "warning")
    assert refused.returncode == 1
    assert "no probabilities" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_label_count_other_than_the_network_s_is_refused(tmp_path: Path) -> None:
    shutil.copy(DEMO / "model.onnx", tmp_path)
    _write_manifest(tmp_path, labels=("one", "two"))
    refused = run_module("server", str(tmp_path), "--port", "0", "--log-format", "text", "--log-level", "warning")
    assert refused.returncode == 2
    assert "2 labels" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_port_in_use_is_reported_in_one_line(live_server: LiveServer) -> None:
    port = live_server.url.rsplit(":", 1)[1]
    refused = run_module("server", str(DEMO), "--port", port, "--log-format", "text")
    assert refused.returncode == 2
    assert port in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "flags",
    [("--port", "70000"), ("--queue-size", "0"), ("--threads", "x"), ("--max-inflight-mb", "1"), ("--nonsense",)],
)
def test_invalid_flag_is_explained(flags: tuple[str, ...]) -> None:
    refused = run_module("server", str(DEMO), *flags)
    assert refused.returncode == 2
    assert flags[0] in refused.stderr
    assert "Traceback" not in refused.stderr


def test_flags_override_the_environment() -> None:
    environment = os.environ | {"VJEPA_PORT": "1", "VJEPA_TOP": "ignored", "VJEPA_QUEUE_SIZE": "7"}
    command = (
        "from server.config.flags import parse_settings\n"
        "settings = parse_settings(['demo', '--port', '2'])\n"
        "print(settings.port, settings.queue_size)"
    )
    shown = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert shown.stdout.split() == ["2", "7"], shown.stderr


async def test_accepted_request_is_answered_after_sigterm(clip: Clip) -> None:
    body = json.dumps(raw_body(clip.frames)).encode()
    with serving(DEMO) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        writer.write(
            b"POST /api/v1/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        # The server asks for the body only when the handler has the request.
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for, "draining")
        writer.write(body)
        assert b"200 OK" in await reader.readline()
        writer.close()
        assert await asyncio.to_thread(server.wait) == 0
    assert server.log[-1]["event"] == "stopped"


def test_sigint_stops_with_exit_code_0() -> None:
    with serving(DEMO) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0


async def test_request_is_logged_in_one_line_with_id_and_phases(clip: Clip) -> None:
    with serving(DEMO) as server:
        async with aiohttp.ClientSession(server.url) as session:
            headers = {"X-Request-Id": "find-me"}
            async with session.post("/api/v1/infer", json=raw_body(clip.frames), headers=headers) as response:
                assert response.status == 200
        assert await asyncio.to_thread(server.stop) == 0
    (line,) = [entry for entry in server.log if entry.get("request_id") == "find-me"]
    assert (line["status"], line["path"]) == (200, "/api/v1/infer")
    assert line["timings_ms"].keys() == {"read", "decode", "queue", "preprocess", "infer", "total"}
    assert line["timings_ms"]["infer"] > 0


async def test_invalid_http_gets_400_and_one_log_line() -> None:
    with serving(DEMO) as server:
        for rubbish in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: abc\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
            writer.write(rubbish)
            assert b" 400 " in await reader.readline()
            assert b"application/problem+json" in await reader.readuntil(b"\r\n\r\n")
            writer.close()
        assert await asyncio.to_thread(server.stop) == 0
    assert [entry["event"] for entry in server.log].count("malformed request") == 1
    assert not any("exc_info" in entry for entry in server.log)


async def test_server_uses_little_memory_and_imports_neither_torch_nor_transformers(clip: Clip) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "server", str(DEMO), "--port", "0", "--log-format", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"ready"' in line:
                break
        url = json.loads(lines[-1])["url"]
        async with aiohttp.ClientSession(url) as session:
            for _ in range(5):
                async with session.post("/api/v1/infer", json=raw_body(clip.frames)) as response:
                    assert response.status == 200
        peak_kib = int(Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0])
        process.terminate()
        lines += process.stderr.readlines()
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    assert {"openvino", "aiohttp", "numpy"} <= imported
    assert not imported & {"torch", "transformers", "onnx", "onnxruntime", "export", "consumer"}
    assert peak_kib <= 350 * 1024


def _bundle_with_stuck_network(bundle: Path) -> Path:
    """A bundle whose network is a named pipe: reading it blocks until the returned path is written."""
    (bundle / "model.onnx").write_bytes(b"")
    _write_manifest(bundle)
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")
    return bundle / "model.onnx"


def _write_manifest(bundle: Path, **changes: object) -> None:
    manifest = manifests.decode((DEMO / "engine.json").read_bytes())
    write_manifest(bundle, msgspec.structs.replace(manifest, **changes))
