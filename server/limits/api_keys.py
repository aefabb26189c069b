"""The API keys of clients, from a file that is read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

from engines.errors import ConfigurationError
from server.errors import UnauthorizedError

_log = logging.getLogger(__name__)

_KEY_ID_CHARACTERS = 8


class ApiKeys:
    """The keys of a file with one key per line; blank lines and lines that begin with ``#`` are ignored.

    Invariant: ``_digests`` is never empty; a changed file without usable keys leaves the old keys in force. ``_stamp``
    is that of the file when it was last read, successfully or not. Used by the event loop only.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError if ``path`` cannot be read or contains no key."""
        self._path = path
        self._stamp = self._stamp_now()
        self._digests = self._read()

    def key_id(self, authorization: str | None) -> str:
        """A name for the key of an ``Authorization: Bearer`` header, from which the key cannot be recovered.

        Raises:
            UnauthorizedError: the key is missing or unknown.
        """
        self._read_again_if_changed()
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthorizedError("a key is needed: Authorization: Bearer KEY", field="Authorization")
        digest = _digest(key.strip())
        # Each key is compared, in constant time, so that the duration reveals nothing about the keys.
        if not sum(hmac.compare_digest(digest, known) for known in self._digests):
            raise UnauthorizedError("the key is unknown", field="Authorization")
        return digest.hex()[:_KEY_ID_CHARACTERS]

    def _read(self) -> tuple[bytes, ...]:
        try:
            lines = [line.strip() for line in self._path.read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the keys in {self._path}: {error}") from None
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ConfigurationError(f"there is no key in {self._path}", help="write one key per line")
        return tuple(_digest(key) for key in keys)

    def _read_again_if_changed(self) -> None:
        if (stamp := self._stamp_now()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = self._read()
            _log.info("keys read again", extra={"keys": len(self._digests)})
        except ConfigurationError as error:
            _log.error("the keys stay as they were", extra={"error": str(error)})

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
