"""The errors of bundles, engines and settings, in one tree; ``server.errors`` adds those of requests.

ServiceError
├── ConfigurationError          flags or environment that cannot be used
├── CheckpointError             a model source that cannot be read or is of an unknown kind
├── ExportError                 tracing, compiling or writing a bundle failed
├── BundleError                 a bundle that must not be served
│   ├── BundleNotFoundError
│   ├── BundleDamagedError      truncated, altered or incomplete
│   ├── BundleUnsupportedError  of another format version, or for another device or runtime
│   ├── BundleUntrustedError    of another digest than the pinned one, or others may write the code in it
│   └── VerificationError       answers differently from the checkpoint
├── HeadError                   a head that is damaged or does not fit
└── EngineError                 the runtime could not be loaded, or failed on a batch
    ├── ClipTooLargeError       the engine has no memory for a clip of this size
    ├── MemoryShortError        the device or the host has too little memory for the engine
    └── EngineLostError         its device is gone or it does not return; only a new process helps
"""

from __future__ import annotations


class ServiceError(Exception):
    """Base of all errors; ``message`` says in one line what is wrong, ``help`` says how to mend it."""

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


class HeadError(ServiceError):
    pass


class BundleNotFoundError(BundleError):
    pass


class BundleDamagedError(BundleError):
    pass


class BundleUnsupportedError(BundleError):
    pass


class BundleUntrustedError(BundleError):
    pass


class VerificationError(BundleError):
    pass


class EngineError(ServiceError):
    pass


class ClipTooLargeError(EngineError):
    pass


class MemoryShortError(EngineError):
    pass


class EngineLostError(EngineError):
    pass


def first_line(error: BaseException) -> str:
    """The first line of another library's error message, or the name of the error's type if the message is empty."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
