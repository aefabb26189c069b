"""Reads exact numbers of bytes from a pipe, and notices that nothing comes."""

from __future__ import annotations

import os
import select


class PipeReader:
    """Reads from the descriptor ``fd``; raises TimeoutError where nothing comes for ``silence_s`` seconds."""

    def __init__(self, fd: int, silence_s: float) -> None:
        self._fd = fd
        self._silence_ms = silence_s * 1e3
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def fill(self, memory: memoryview) -> bool:
        """Fill ``memory`` (bytes); False where the pipe ends before that."""
        while memory:
            if not self._poll.poll(self._silence_ms):
                raise TimeoutError
            count = os.readv(self._fd, [memory])
            if not count:
                return False
            memory = memory[count:]
        return True

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; empty where the pipe ends before that."""
        content = bytearray(count)
        return bytes(content) if self.fill(memoryview(content)) else b""
