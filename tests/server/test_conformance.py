"""Schemathesis generates valid and invalid requests from the OpenAPI document and checks their answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from engines.storage.bundle import DEMO
from tests.live_server import serving

CONFIG = Path(__file__).parent / "schemathesis.toml"
# For each operation, besides some hundred requests at the limits of its parameters.
EXAMPLES = 25
# A fixed seed, so that a failure is caused by a change and not by chance.
SEED = "309493116489279110884850944806430449532"


def test_generated_requests_get_documented_answers(tmp_path: Path) -> None:
    """With API keys, so that operations that need one are also called without one."""
    (tmp_path / "keys").write_text("key\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
        flags = ["--header", "Authorization: Bearer key", "--max-examples", str(EXAMPLES), "--seed", SEED, "--no-color"]
        asked = subprocess.run(
            [*command, f"{server.url}/openapi.json", *flags],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert "Tested: 24" in asked.stdout
        assert server.stop() == 0
    assert not [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]
