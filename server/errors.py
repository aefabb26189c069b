"""The errors that refuse a request, in one tree; ``server/http/problem.py`` maps each to an HTTP status.

RequestError (a ServiceError)   what a client sent, or when it sent it
├── UnreadableError             body, base64 or image cannot be read
│   └── FramingError            where the request ends is not certain
│       └── VersionError        it is not HTTP/1.1 or HTTP/1.0
├── UnauthorizedError           no key, or an unknown one
├── ForbiddenError              a page of an origin that is not allowed
├── NotFoundError               no model, version or region of this name
├── SlowBodyError               the body did not arrive in time
├── TooLargeError               more bytes or pixels than are accepted
├── UnsupportedMediaError       unknown content type
├── InvalidError                readable, but not what the engine takes
├── DeadlineError               not answered within the client's deadline
└── RetryLaterError             the same request may succeed later
    ├── RateLimitedError        too many requests with one key
    ├── OverloadedError         more clips or bytes at once than are accepted
    └── NotReadyError           loading, draining or out of order
"""

from __future__ import annotations

from engines.errors import ServiceError

_MOST_SHOWN_CHARACTERS = 64


class RequestError(ServiceError):
    """A request is refused; ``field`` is the field at fault as the client wrote it (``frames[3]``), or None."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnreadableError(RequestError):
    pass


class FramingError(UnreadableError):
    """Nothing that follows on the connection may be read as a request."""


class VersionError(FramingError):
    pass


class UnauthorizedError(RequestError):
    pass


class ForbiddenError(RequestError):
    pass


class NotFoundError(RequestError):
    pass


class SlowBodyError(RequestError):
    pass


class TooLargeError(RequestError):
    pass


class UnsupportedMediaError(RequestError):
    pass


class InvalidError(RequestError):
    pass


class DeadlineError(RequestError):
    pass


class RetryLaterError(RequestError):
    """The same request may succeed after ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(RetryLaterError):
    pass


class OverloadedError(RetryLaterError):
    pass


class NotReadyError(RetryLaterError):
    pass


def shown(text: str) -> str:
    """What a client wrote, as a message may show it: cut, and with everything escaped that cannot be printed."""
    cut = text[:_MOST_SHOWN_CHARACTERS]
    return cut if cut.isprintable() else repr(cut)[1:-1]
