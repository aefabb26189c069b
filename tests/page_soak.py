"""``python -m tests.page_soak``: twenty cameras on a page for ten minutes; its heap and its elements must not grow.

Prints what the page held; exits with 1 if it holds more at the end. Says so where there is no browser.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys

from engines.storage.bundle import DEMO
from tests.latency.page import cameras
from tests.live_server import serving
from tests.server.browser import BROWSER, visiting

STREAMS = 20
# The heap of a page is noisy: the strips of the first five minutes still fill up.
MOST_GROWTH_BYTES = 2 * 2**20
MOST_GROWTH_NODES = 50
SAMPLES = 12


async def _held(minutes: float) -> list[tuple[float, float]]:
    """Bytes of the heap and number of nodes, at equal times, each after a collection of garbage."""
    with serving(DEMO) as server:
        async with cameras(server, STREAMS), visiting(viewport={"width": 1280, "height": 900}) as visit:
            await visit.page.goto(f"{server.url}/live#cameras")
            await visit.page.locator(".tile").nth(STREAMS - 1).wait_for(timeout=120_000)
            devtools = await visit.page.context.new_cdp_session(visit.page)
            await devtools.send("Performance.enable")
            held = []
            for _ in range(SAMPLES):
                await asyncio.sleep(60 * minutes / SAMPLES)
                await devtools.send("HeapProfiler.collectGarbage")
                told = (await devtools.send("Performance.getMetrics"))["metrics"]
                values = {one["name"]: one["value"] for one in told}
                held.append((values["JSHeapUsedSize"], values["Nodes"]))
                print(f"heap {held[-1][0] / 2**20:.2f} MiB, {held[-1][1]:.0f} nodes", flush=True)
            visit.assert_at_home(server)
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    if BROWSER is None:
        print("skipped: there is no Chromium; apt-get install chromium")
        return 0
    held = asyncio.run(_held(minutes))
    third = len(held) // 3
    for column, most in ((0, MOST_GROWTH_BYTES), (1, MOST_GROWTH_NODES)):
        early, late = (statistics.median(row[column] for row in part) for part in (held[:third], held[-third:]))
        if late - early > most:
            print(f"grew from {early:.0f} to {late:.0f}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
