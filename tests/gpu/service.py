"""The whole service over HTTP, beside its engine alone: what the server adds, and how much of the engine is used."""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np

from engines.storage.bundle import Bundle
from tests.gpu.running import clips_per_s, noise, running
from tests.gpu.setting import Setting, say, setting
from tests.gpu.timing import latencies_ms
from tests.live_server import LiveServer, serving
from tests.percentile import percentile
from tests.server.peers import Peer, encoded, post_head

_CLIENTS = (1, 8, 32)


def main() -> int:
    chosen = setting()
    bundles = dict(chosen.bundles())
    name = "torch inductor" if "torch inductor" in bundles else "torch"
    with running(chosen, name, bundles[name]) as engine:
        if engine is None:
            return 1
        clips = noise(engine, max(chosen.batches), chosen.sizes[0])
        alone_ms = percentile(latencies_ms(lambda: engine.infer(clips[:1]), chosen.seconds), 50)
        best = max(clips_per_s(engine, clips[:batch], chosen.seconds / 2) for batch in chosen.batches)
    say(f"{name}, engine alone", f"{best:.1f} clips/s", f"{alone_ms:.2f} ms")
    asyncio.run(_serve(chosen, bundles[name], alone_ms, best))
    return 0


async def _serve(chosen: Setting, bundle: Bundle, alone_ms: float, best: float) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (bundle.manifest.frames, *chosen.sizes[0], 3), np.uint8)
    flags = ("--device", chosen.device, "--threads", str(chosen.threads), "--deadline-ms", "600000")
    with serving(bundle.path, *flags) as server:
        request, encoding = await _request(server, frames)
        say(f"over HTTP, {encoding}", "clients", "p50 ms", "p99 ms", "over engine", "clips/s", "of engine")
        for clients in _CLIENTS:
            began_s = time.perf_counter()
            taken = await _ask(server, request, clients, 2 * chosen.seconds)
            rate = len(taken) / (time.perf_counter() - began_s)
            p50, p99 = (percentile(taken, percent) for percent in (50, 99))
            say("", clients, f"{p50:.2f}", f"{p99:.2f}", f"{p50 - alone_ms:.2f}", f"{rate:.1f}", f"{rate / best:.0%}")


async def _request(server: LiveServer, frames: np.ndarray) -> tuple[bytes, str]:
    """As octet-stream, or as JSON where the server takes none."""
    pixels = frames.tobytes()
    query = f"width={frames.shape[2]}&height={frames.shape[1]}&format=RGB"
    head = f"POST /api/v1/infer?{query} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
    raw = f"{head}Content-Length: {len(pixels)}\r\n\r\n".encode() + pixels
    peer = await Peer.connect(server)
    await peer.write(raw)
    status = await peer.status_or_end()
    peer.close()
    if status == 200:
        return raw, "octet-stream"
    body = encoded(frames)
    return post_head(len(body)) + body, f"JSON (octet-stream: {status})"


async def _ask(server: LiveServer, request: bytes, clients: int, seconds: float) -> list[float]:
    """Milliseconds of each answer, in rising order."""
    taken: list[float] = []
    ends_s = time.perf_counter() + seconds

    async def client() -> None:
        peer = await Peer.connect(server)
        while (began_s := time.perf_counter()) < ends_s:
            await peer.write(request)
            answer = await peer.answer()
            if answer.status != 200:
                sys.exit(f"answered with {answer.status}: {answer.body}")
            taken.append((time.perf_counter() - began_s) * 1e3)
        peer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return sorted(taken)


if __name__ == "__main__":
    sys.exit(main())
