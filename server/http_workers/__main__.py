"""``python -m server.http_workers LINE DOOR SEGMENT``: one HTTP worker; the engine process starts it.

Its arguments are file descriptors that it inherits: of the line to the engine process, of the socket over which it is
handed connections, and of the shared memory. It ends with 0 when it is told to, with 1 when the engine process ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys

from engines.errors import ServiceError
from server.allocator import keep_freed_memory
from server.http_workers.engine_link import EngineLink
from server.http_workers.http_worker import HttpWorker
from server.http_workers.messages import Begin, Unusable
from server.http_workers.segment import Segment
from server.logs import configure_logs

_PR_SET_PDEATHSIG = 1


async def main(line: int, door: int, segment: int) -> int:
    """The exit code."""
    link = EngineLink()
    await link.connect(socket.socket(fileno=line))
    begin = await link.orders.get()
    if not isinstance(begin, Begin):
        return 1
    configure_logs(begin.settings.log_format, begin.settings.log_level, worker=begin.worker)
    try:
        return await HttpWorker(begin, link, Segment(segment)).serve(socket.socket(fileno=door))
    except ServiceError as error:
        link.send(Unusable(error.message, error.help))
        return 1
    finally:
        link.close()


if __name__ == "__main__":
    # Whoever stops the service tells the engine process, and that tells this one.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()
    # Where somebody has stopped it (SIGSTOP), the end of the engine process has to be noticed, too.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    code = asyncio.run(main(*map(int, sys.argv[1:])))
    sys.stderr.flush()
    # An interpreter that ends in the usual way waits for its threads, of which one may be decoding.
    os._exit(code)
