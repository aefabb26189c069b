"""The API keys of clients, from a file that is read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from pathlib import Path

from engines.errors import ConfigurationError
from server.errors import UnauthorizedError
from server.limits.key_file import Stamp, read_keys, stamp_of

_log = logging.getLogger(__name__)

_KEY_ID_CHARACTERS = 8
# A file system may give two changes in one tick of its clock the same time.
_TICK_NS = 2 * 10**9


class ApiKeys:
    """The keys in force are those of the file as it was read last.

    A file that was emptied revokes every key. One that cannot be read leaves the keys as they are, because it may be
    about to be replaced, and is tried again at each request.

    Invariant: ``_stamp`` is that of the file whose keys are in ``_digests``; None if the file may have changed since
    without another stamp. Used by the event loop only.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError if ``path`` cannot be read or contains no key."""
        self._path = path
        self._trouble: str | None = None
        self._stamp: Stamp | None = None
        self._digests = self._read()
        if not self._digests:
            raise ConfigurationError(f"there is no key in {path}", help="write one key per line")

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
        # The stamp is taken first, so that a change while the file is read shows in the next one.
        stamp = stamp_of(self._path)
        digests = tuple(_digest(key) for key in read_keys(self._path))
        settled = stamp is not None and time.time_ns() - max(stamp[2:]) > _TICK_NS
        self._stamp = stamp if settled else None
        return digests

    def _read_again_if_changed(self) -> None:
        if self._stamp is not None and stamp_of(self._path) == self._stamp:
            return
        try:
            digests = self._read()
        except ConfigurationError as error:
            self._log_trouble(str(error))
            return
        if digests != self._digests or self._trouble is not None:
            self._trouble, self._digests = None, digests
            _log_keys(len(digests))

    def _log_trouble(self, trouble: str) -> None:
        """Log once, however many requests find the file in the same state."""
        if trouble != self._trouble:
            self._trouble = trouble
            _log.error("the keys stay as they were", extra={"error": trouble})


def _log_keys(count: int) -> None:
    if count:
        _log.info("keys read again", extra={"keys": count})
    else:
        _log.error("the key file holds no key, so every request that needs one gets 401")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
