"""API keys, rate limits and CORS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from engines.errors import ConfigurationError
from engines.storage.bundle import DEMO
from server.errors import UnauthorizedError
from server.limits.api_keys import ApiKeys
from server.limits.key_file import MAX_BYTES
from tests.live_server import LiveServer, run_module, serving
from tests.server.peers import Peer, clients, encoded, post_head, send, small_clips

BODY = encoded(small_clips(1)[0])


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def _status(session: aiohttp.ClientSession, path: str, key: str | None = None) -> int:
    async with session.get(path, headers=_bearer(key) if key else None) as response:
        return response.status


async def test_keys_are_required_except_for_health_and_reread_on_change(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# cameras\nfirst-key\n\nsecond-key\n")
    with serving(DEMO, "--api-key-file", str(keys)) as server:
        async with clients(server) as session:
            for path in ("/health", "/health/live", "/health/ready"):
                assert await _status(session, path) == 200
            for path in ("/", "/metrics"):
                assert (await _status(session, path), await _status(session, path, "second-key")) == (401, 200)
            assert (await send(session, BODY, _bearer("first-key"))).status == 200
            for header in ({}, _bearer("# cameras"), _bearer("first-ke"), _bearer(""), {"Authorization": "Basic eDp5"}):
                refused = await send(session, BODY, header)
                assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert refused.body["field"] == "Authorization"
            keys.write_text("third-key\n")
            assert (await send(session, BODY, _bearer("third-key"))).status == 200
            assert (await send(session, BODY, _bearer("first-key"))).status == 401
            keys.unlink()
            assert (await send(session, BODY, _bearer("third-key"))).status == 200
        assert await asyncio.to_thread(server.stop) == 0
    assert len(server.entries("the keys stay as they were")) == 1
    assert not any(key in str(server.log) for key in ("first-key", "second-key", "third-key"))


async def test_emptied_key_file_revokes_every_key_and_no_other_file_in_its_place_does_harm(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(b"\xef\xbb\xbffirst\r\nsecond\r\n")
    with serving(DEMO, "--api-key-file", str(keys)) as server:
        async with clients(server) as session:
            assert [await _status(session, "/", key) for key in ("first", "second")] == [200, 200]
            for place in (os.mkfifo, os.mkdir, _link_to_a_device, _write_too_much):
                _replace(keys, place)
                for _ in range(2):
                    assert await _status(session, "/", "first") == 200
            _replace(keys, lambda path: Path(path).write_text("# no key\n"))
            for _ in range(2):
                assert await _status(session, "/", "first") == 401
                assert await _status(session, "/health") == 200
            _replace(keys, lambda path: Path(path).write_text("first\n"))
            assert await _status(session, "/", "first") == 200
        assert await asyncio.to_thread(server.stop) == 0
    kept = [entry["error"] for entry in server.entries("the keys stay as they were")]
    assert [error.split(": ")[1].split(";")[0] for error in kept] == [
        "it is not a regular file",
        f"it has more than {MAX_BYTES} bytes",
    ]
    assert len(server.entries("the key file holds no key, so every request that needs one gets 401")) == 1


def _replace(keys: Path, place: Callable[[str], object]) -> None:
    """Exchange the file in one step."""
    place(f"{keys}.new")
    if Path(f"{keys}.new").is_dir():
        keys.unlink()
    elif keys.is_dir():
        keys.rmdir()
    Path(f"{keys}.new").replace(keys)


def _link_to_a_device(path: str) -> None:
    Path(path).symlink_to("/dev/zero")


def _write_too_much(path: str) -> None:
    Path(path).write_text("k\n" * MAX_BYTES)


def test_key_file_that_changes_within_a_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("first\n")
    known = ApiKeys(keys)
    known.key_id("Bearer first")
    before = keys.stat()
    keys.write_text("other\n")
    os.utime(keys, ns=(before.st_atime_ns, before.st_mtime_ns))
    known.key_id("Bearer other")
    with pytest.raises(UnauthorizedError):
        known.key_id("Bearer first")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (os.mkfifo, "it is not a regular file"),
        (os.mkdir, "it is not a regular file"),
        (_write_too_much, "it has more than"),
        (lambda path: Path(path).write_text("key\n", "utf-16"), "it is not UTF-8"),
    ],
)
def test_start_with_something_else_for_a_key_file_is_refused(
    tmp_path: Path, place: Callable[[str], object], reason: str
) -> None:
    place(str(tmp_path / "keys"))
    with pytest.raises(ConfigurationError, match=reason):
        ApiKeys(tmp_path / "keys")


async def test_body_without_a_key_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        peer = await Peer.connect(server)
        await peer.write(post_head(len(BODY), "Expect: 100-continue"))
        assert (await peer.answer()).status == 401
        peer.close()


@pytest.mark.parametrize("text", [None, "", "# nothing but this\n"])
def test_key_file_without_keys_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "keys").write_text(text)
    refused = run_module("server", str(DEMO), "--port", "0", "--api-key-file", str(tmp_path / "keys"))
    assert refused.returncode == 2
    assert str(tmp_path / "keys") in refused.stderr


async def test_each_key_has_its_own_rate(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one\nother\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys"), "--rate-limit", "5/hour") as server:
        async with clients(server) as session:
            answers = [await send(session, BODY, _bearer("one")) for _ in range(7)]
            assert [answer.status for answer in answers] == [200] * 5 + [429] * 2
            assert 1 <= int(answers[-1].headers["Retry-After"]) <= 7200
            assert (await send(session, BODY, _bearer("other"))).status == 200
            assert await _status(session, "/health") == 200


def test_invalid_rate_limit_is_refused() -> None:
    refused = run_module("server", str(DEMO), "--port", "0", "--rate-limit", "often")
    assert refused.returncode == 2
    assert "often" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_no_origin_is_allowed_by_default(live_server: LiveServer) -> None:
    async with clients(live_server) as session:
        answer = await send(session, BODY, {"Origin": "https://a.example"})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


async def test_only_named_origins_are_allowed() -> None:
    with serving(DEMO, "--cors-origins", "https://a.example, https://b.example") as server:
        async with clients(server) as session:
            asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
            for origin, allowed in (("https://b.example", "https://b.example"), ("https://c.example", None)):
                async with session.options("/api/v1/infer", headers=asked | {"Origin": origin}) as preflight:
                    assert preflight.headers.get("Access-Control-Allow-Origin") == allowed
                    assert preflight.status == (204 if allowed else 405)
                for body, status in ((BODY, 200), (b"{", 400)):
                    answer = await send(session, body, {"Origin": origin})
                    assert answer.status == status
                    assert answer.headers.get("Access-Control-Allow-Origin") == allowed
