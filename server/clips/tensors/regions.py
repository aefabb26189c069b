"""System shared memory: regions that clients register, read and written through their descriptors.

A region is never mapped: a client that truncates a mapped region ends the process that touches it (SIGBUS). Reading
from a descriptor copies once too, and ends early at the end of a truncated region.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from server.errors import InvalidError, NotFoundError, shown

# Each region keeps a descriptor, which must be left over by the connections.
MAX_REGIONS = 256

_FOLDER = Path("/dev/shm")  # noqa: S108 - where shm_open keeps its objects
_MOST_NAME_BYTES = 255
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(eq=False, slots=True)
class Region:
    """A registered region: ``byte_size`` bytes from ``offset`` of the object ``key``.

    Invariant: ``descriptor`` is open while the region is registered or ``users`` requests use it; the event loop alone
    changes ``users`` and closes it.
    """

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int
    users: int = 1

    @contextlib.contextmanager
    def used(self) -> Iterator[Region]:
        """Keep the descriptor open during the block."""
        self.users += 1
        try:
            yield self
        finally:
            self.let_go()

    def let_go(self) -> None:
        """End one use; the last one closes the descriptor."""
        self.users -= 1
        if not self.users:
            os.close(self.descriptor)

    def check(self, offset: int, byte_size: int) -> None:
        """Raises InvalidError unless that part is in the region."""
        if offset + byte_size > self.byte_size:
            raise InvalidError(
                f"{byte_size} bytes at {offset} are not in the region {shown(self.name)!r} of {self.byte_size} bytes",
                field="shared_memory_region",
            )

    def read_into(self, offset: int, memory: memoryview) -> None:
        """Fill ``memory`` from ``offset`` of the region, in any thread; raises InvalidError if it was truncated."""
        at = self.offset + offset
        while memory:
            try:
                count = os.preadv(self.descriptor, [memory], at)
            except OSError as error:
                raise self._failed("read", error) from None
            if not count:
                raise InvalidError(
                    f"the region {shown(self.name)!r} ends {len(memory)} bytes too early: it was truncated after it"
                    " was registered",
                    field="shared_memory_region",
                )
            memory, at = memory[count:], at + count

    def write(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` of the region; raises InvalidError."""
        at = self.offset + offset
        try:
            # Writing past the end would make the client's object longer.
            if os.fstat(self.descriptor).st_size < at + len(data):
                raise InvalidError(
                    f"the region {shown(self.name)!r} was truncated after it was registered",
                    field="shared_memory_region",
                )
            rest = memoryview(data)
            while rest:
                count = os.pwrite(self.descriptor, rest, at)
                rest, at = rest[count:], at + count
        except OSError as error:
            raise self._failed("written", error) from None

    def _failed(self, what: str, error: OSError) -> InvalidError:
        return InvalidError(
            f"the region {shown(self.name)!r} cannot be {what}: {error.strerror}", field="shared_memory_region"
        )


class Regions:
    """The registered regions by their names, at most ``MAX_REGIONS``; used by the event loop only."""

    def __init__(self) -> None:
        self._by_name: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open the object ``key`` of shm_open; raises InvalidError."""
        if name in self._by_name:
            raise InvalidError(f"the region {shown(name)!r} is registered already", field="name")
        if len(self._by_name) >= MAX_REGIONS:
            raise InvalidError(f"{MAX_REGIONS} regions are registered, and no more are accepted", field="name")
        descriptor = _opened(key)
        try:
            _check_object(descriptor, key, offset, byte_size)
        except BaseException:
            os.close(descriptor)
            raise
        self._by_name[name] = Region(name, key, offset, byte_size, descriptor)

    def unregister(self, name: str) -> None:
        """Forget the region; requests that use it go on. Raises NotFoundError."""
        region = self.find(name)
        del self._by_name[name]
        region.let_go()

    def unregister_all(self) -> None:
        while self._by_name:
            self._by_name.popitem()[1].let_go()

    def all(self) -> list[Region]:
        return list(self._by_name.values())

    def find(self, name: str) -> Region:
        """Raises NotFoundError."""
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFoundError(f"no region {shown(name)!r} is registered", field="shared_memory_region") from None


def _opened(key: str) -> int:
    """A descriptor of the object ``key``; read-only where writing is not allowed."""
    name = key.removeprefix("/")
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > _MOST_NAME_BYTES:
        raise InvalidError(f"the key {shown(key)!r} is no name of shared memory; accepted: /NAME", field="key")
    try:
        try:
            return os.open(_FOLDER / name, os.O_RDWR | _FLAGS)
        except PermissionError:
            return os.open(_FOLDER / name, os.O_RDONLY | _FLAGS)
    except OSError as error:
        raise InvalidError(f"shared memory {shown(key)!r} cannot be opened: {error.strerror}", field="key") from None


def _check_object(descriptor: int, key: str, offset: int, byte_size: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidError(f"{shown(key)!r} is no shared memory", field="key")
    if byte_size < 1 or offset + byte_size > found.st_size:
        raise InvalidError(
            f"{byte_size} bytes at {offset} are not in {shown(key)!r}, which has {found.st_size} bytes",
            field="byte_size",
        )
