"""Every error the service raises on purpose, in one tree.

ServiceError
├── ConfigurationError          flags or environment that cannot be used
├── CheckpointError             a model source that cannot be read or is of an unknown kind
├── ExportError                 tracing, compiling or writing a bundle failed
├── BundleError                 a bundle that must not be served
│   ├── BundleNotFoundError
│   ├── BundleDamagedError      truncated, altered or incomplete
│   ├── BundleUnsupportedError  of another format version, or for another device or runtime
│   └── VerificationError       answers differently from the checkpoint
├── EngineError                 the runtime could not be loaded, or failed on a batch
│   └── EngineLostError         its device is gone or it never returns: only a new process helps
└── RequestError                what a client sent or when it sent it
    ├── UnreadableError         body, base64 or image cannot be read
    ├── UnauthorizedError       no key, or an unknown one
    ├── SlowBodyError           the body did not come in time
    ├── TooLargeError           more bytes or pixels than are accepted
    ├── UnsupportedMediaError   unknown content type
    ├── InvalidError            readable, but not what the engine takes
    ├── DeadlineError           not answered in the time that the client has
    └── RetryLaterError         the same request may succeed later
        ├── RateLimitedError    too many requests with one key
        ├── OverloadedError     more clips or bytes at once than are accepted
        └── NotReadyError       loading, draining or out of order
"""

from __future__ import annotations


class ServiceError(Exception):
    """Base of all; ``message`` says what is wrong in one line, ``help`` what to do about it."""

    def __init__(self, message: str, *, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help

    def __str__(self) -> str:
        return f"{self.message}; help: {self.help}" if self.help else self.message


class ConfigurationError(ServiceError):
    pass


class CheckpointError(ServiceError):
    pass


class ExportError(ServiceError):
    pass


class BundleError(ServiceError):
    pass


class BundleNotFoundError(BundleError):
    pass


class BundleDamagedError(BundleError):
    pass


class BundleUnsupportedError(BundleError):
    pass


class VerificationError(BundleError):
    pass


class EngineError(ServiceError):
    pass


class EngineLostError(EngineError):
    pass


class RequestError(ServiceError):
    """``field`` is the request's field at fault, as the client wrote it (``frames[3]``), or None."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnreadableError(RequestError):
    pass


class UnauthorizedError(RequestError):
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
    """``retry_after_s`` is when it is worth asking again."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(RetryLaterError):
    pass


class OverloadedError(RetryLaterError):
    pass


class NotReadyError(RetryLaterError):
    pass


def first_line(error: BaseException) -> str:
    """What another library's error says, without what follows; its type's name where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
