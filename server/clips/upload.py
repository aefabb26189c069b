"""What a front gives of a request, so that its body can become a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from server.clips.lease import Lease

# Returns writable memory of that many bytes.
NewMemory = Callable[[int], memoryview]
# Returns writable memory for what follows the beginning of a body, whose bytes it gets.
PartsFor = Callable[[bytes], Sequence[memoryview]]


class Memory(Protocol):
    """The account of the bytes that one request holds; callable from any thread."""

    def add(self, count_bytes: int) -> None:
        """Raises OverloadedError when requests would hold too many bytes together."""
        ...

    def drop(self, count_bytes: int) -> None:
        """Give back ``count_bytes`` that were added."""
        ...

    def count_clips(self, clips: int) -> None:
        """Say how many clips the body holds, which is 1 by default; raises OverloadedError if there is no room.

        Called by the event loop, while the body is read or after that.
        """
        ...


class Upload(Protocol):
    """A body that has not been read, and what its sender said about it; read once, by one of the three methods."""

    @property
    def content_type(self) -> str:
        """As sent, with its parameters."""
        ...

    @property
    def query(self) -> Iterable[tuple[str, str]]: ...

    @property
    def announced_bytes(self) -> int:
        """The length that the sender announced, compressed if the body is; 0 when it announced none."""
        ...

    @property
    def length(self) -> int | None:
        """The exact length of the body in bytes; None when it is known only at the end."""
        ...

    @property
    def max_bytes(self) -> int:
        """The longest body that is accepted."""
        ...

    @property
    def memory(self) -> Memory: ...

    @property
    def lease(self) -> Lease:
        """Holds ``memory`` and what else the request uses, until no thread works for it any more."""
        ...

    def check_length(self) -> None:
        """Raises TooLargeError when the announced length is more than ``max_bytes``."""
        ...

    async def read(self) -> bytearray:
        """The whole body, decompressed; its bytes are added to ``memory`` as they arrive. Raises RequestError."""
        ...

    async def read_into(self, size_bytes: int, new_memory: NewMemory) -> int:
        """Write the body into ``new_memory(size_bytes)`` and return its length; raises RequestError.

        Of a body that is longer than ``size_bytes`` only the beginning is written.
        """
        ...

    async def read_parts(self, head_bytes: int, parts_for: PartsFor) -> None:
        """Give the first ``head_bytes`` to ``parts_for``, and write the rest into its parts, one after the other.

        Only for a body of known ``length``, which is that of the head and the parts together. Raises RequestError, and
        what ``parts_for`` raises.
        """
        ...
