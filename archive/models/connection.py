"""Requests to a running service, at low priority."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
import urllib3

from archive.errors import RemoteError

# Statuses whose cause is not the window: the service is busy, restarts, or a proxy found none.
_RETRIED = (429, 502, 503, 504)
# Ten minutes without a connection: a service that restarts is back before.
_ATTEMPTS = 16
_FIRST_ATTEMPTS = 2
_LONGEST_PAUSE_S = 60.0
_CONNECT_S, _ANSWER_S = 10.0, 120.0


class Connection:
    """Requests to the service at ``url`` with its ``key``, if it needs one; ``threads`` may share it.

    A busy service is asked again after the pause that it asks for, however often; one that is away for ten minutes.
    """

    def __init__(self, url: str, key: str | None, threads: int) -> None:
        self._url = url.rstrip("/")
        self._headers = {"X-Priority": "low"} | ({"Authorization": f"Bearer {key}"} if key else {})
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=_ANSWER_S)
        self._pool = urllib3.PoolManager(maxsize=threads, timeout=timeout)

    def get(self, path: str) -> bytes:
        """The body of the answer; at the start of a run, so a wrong address is told soon. Raises RemoteError."""
        return self._sent("GET", path, None, urllib3.Retry(_FIRST_ATTEMPTS, redirect=0, backoff_factor=0.5))

    def post(self, path: str, body: bytes) -> bytes:
        """Send an octet-stream; the body of the answer. Raises RemoteError."""
        retries = urllib3.Retry(
            total=None,
            connect=_ATTEMPTS,
            read=_ATTEMPTS,
            redirect=0,
            status_forcelist=_RETRIED,
            allowed_methods=None,
            backoff_factor=0.5,
            backoff_max=_LONGEST_PAUSE_S,
            backoff_jitter=0.5,
        )
        return self._sent("POST", path, body, retries)

    def close(self) -> None:
        self._pool.clear()

    def _sent(self, method: str, path: str, body: bytes | None, retries: urllib3.Retry) -> bytes:
        kind = {} if body is None else {"Content-Type": "application/octet-stream"}
        try:
            answer = self._pool.request(
                method, self._url + path, body=body, headers=self._headers | kind, retries=retries
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise RemoteError(f"{self._url} did not answer: {reason}", "check --service, and that it runs") from None
        if answer.status != HTTPStatus.OK:
            raise RemoteError(
                f"{self._url} answered with status {answer.status}: {_detail(answer.data)}", _hint(answer.status)
            )
        return answer.data


def _detail(body: bytes) -> str:
    try:
        found: Any = msgspec.json.decode(body)
        return str(found["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "no reason given"


def _hint(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "set VJEPA_API_KEY to a key that the service accepts"
    return "see the log of the service"
