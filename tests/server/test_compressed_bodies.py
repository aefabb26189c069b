"""Compressed bodies: inflated beside the event loop, within bounds, and answered like plain ones."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.storage.bundle import DEMO
from server.errors import TooLargeError, UnreadableError
from server.http.content_encoding import inflate
from tests.live_server import serving
from tests.server.conftest import Post
from tests.server.peers import clients, confidences, encoded, send, small_clips
from tests.server.requests import Sent

BODY = encoded(small_clips(1)[0])
MIB = 2**20


def _raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


COMPRESSIONS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_compressed_body_gets_the_answer_of_the_plain_one(post: Post, name: str, chunked: bool) -> None:
    encoding, compress = COMPRESSIONS[name]
    compressed = compress(BODY)

    async def pieces():  # type: ignore[no-untyped-def]
        for at in range(0, len(compressed), 1000):
            yield compressed[at : at + 1000]

    plain = await post(Sent("application/json", BODY))
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await post(data=pieces() if chunked else compressed, headers=headers)
    assert confidences(answer) == pytest.approx(confidences(plain), abs=1e-6)


@given(content=st.binary(max_size=5000), name=st.sampled_from(sorted(COMPRESSIONS)), cut=st.integers(0, 100))
def test_what_is_inflated_is_held_and_what_is_cut_off_is_refused(content: bytes, name: str, cut: int) -> None:
    encoding, compress = COMPRESSIONS[name]
    compressed = compress(content)
    held: list[int] = []
    assert inflate(bytearray(compressed), encoding, MIB, held.append) == content
    assert sum(held) == len(content)
    if 0 < cut < len(compressed):
        with pytest.raises((UnreadableError, TooLargeError)):
            inflate(bytearray(compressed[:-cut]), encoding, MIB, held.append)
    with pytest.raises(UnreadableError):
        inflate(bytearray(compressed + b"more"), encoding, MIB, held.append)


def test_inflating_stops_at_the_bounds() -> None:
    held: list[int] = []
    bomb = bytearray(zlib.compress(b" " * 64 * MIB, 9))
    with pytest.raises(TooLargeError, match="100 times"):
        inflate(bomb, "deflate", 64 * MIB, held.append)
    assert sum(held) < 100 * len(bomb) + 2 * MIB
    held.clear()
    with pytest.raises(TooLargeError):
        inflate(bytearray(zlib.compress(bytes(range(256)) * 4 * 2**13, 1)), "deflate", 2 * MIB, held.append)
    assert sum(held) <= 4 * MIB


async def test_clients_that_send_bombs_do_not_stop_the_others() -> None:
    """Without a bound on the ratio, and on the event loop, eight such clients took nearly all of the service."""
    bomb = Sent("application/json", gzip.compress(b" " * 60 * MIB, 9))
    header = {"Content-Encoding": "gzip"}
    with serving(DEMO) as server:
        async with clients(server) as session:
            await send(session, BODY)
            alone = await _answered_in(session, 3)
            attackers = [asyncio.create_task(_repeat(session, bomb, header)) for _ in range(8)]
            beside = await _answered_in(session, 3)
            for attacker in attackers:
                attacker.cancel()
            statuses = await asyncio.gather(*attackers)
    assert all(set(sent) <= {413} and sent for sent in statuses)
    assert beside >= 0.25 * alone


async def _answered_in(session, seconds: float) -> int:  # type: ignore[no-untyped-def]
    loop, count = asyncio.get_running_loop(), 0
    end_s = loop.time() + seconds
    while loop.time() < end_s:
        assert (await send(session, BODY)).status == 200
        count += 1
    return count


async def _repeat(session, sent: Sent, header: dict[str, str]) -> list[int]:  # type: ignore[no-untyped-def]
    """A bomb every 460 ms, as of a client that sends 130 KiB a second with seven others, until it is cancelled."""
    statuses: list[int] = []
    try:
        while True:
            statuses.append((await send(session, sent, header)).status)
            await asyncio.sleep(0.46)
    except asyncio.CancelledError:
        return statuses
