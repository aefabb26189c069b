"""Everything that can go wrong in the consumer.

ConsumerError                       one clear line, ended by what to do about it
├── SourceError                     exit code 2: the source cannot give frames
│   ├── SourceUnreadableError       it cannot be opened or read on
│   ├── NoVideoError                it opens, but there is nothing in it to look at
│   └── SourceStoppedError          nobody wants its frames any more
└── ServiceError                    exit code 1: the service did not classify the clip
    ├── ServiceUnreachableError     no answer: refused, timed out, broken off, never ready
    ├── ServiceRefusedError         an answer that is an error (RFC 9457 problem+json)
    └── ServiceAnswerError          a success that does not read as the contract says
"""

from __future__ import annotations

from http import HTTPStatus

CURES: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "check that --service-url is a V-JEPA 2 service",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send smaller frames with --short-edge",
    HTTPStatus.UNPROCESSABLE_ENTITY: "leave out --frames to use the service's own frame count, and check --top-k",
    HTTPStatus.SERVICE_UNAVAILABLE: "the service is overloaded or not ready: raise --retries, or see its log",
}
USUAL_CURE = "see the service's log"


class ConsumerError(Exception):
    """An expected failure; ``str()`` is one line: what happened, then ``help:`` and the cure."""

    exit_code = 1

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}; help: {cure}")


class SourceError(ConsumerError):
    """The source cannot give frames."""

    exit_code = 2


class SourceUnreadableError(SourceError):
    """The source cannot be opened, or reading it failed half way."""


class NoVideoError(SourceError):
    """The source opens but holds no moving picture that can be decoded."""


class SourceStoppedError(SourceError):
    """Reading was stopped before the source's end; what came until then is not the whole."""

    def __init__(self, source: str) -> None:
        super().__init__(f"reading {source} was stopped", "start again")


class ServiceError(ConsumerError):
    """The service did not classify the clip."""


class ServiceUnreachableError(ServiceError):
    """No answer came from ``url``; ``reason`` says how that showed."""

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        cure = "start it with `just serve`, or say where it is with --service-url or VJEPA_SERVICE_URL"
        super().__init__(f"the service at {url} {reason}", cure)


class ServiceRefusedError(ServiceError):
    """The service answered with an error.

    ``status`` is the HTTP status; ``title``, ``detail`` and ``field`` (``None`` where no field is at fault) are
    those of the problem+json body.
    """

    def __init__(self, status: int, title: str, detail: str, field: str | None = None) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field
        where = f" (field {field})" if field else ""
        reason = ": ".join(part for part in (title, detail) if part)
        super().__init__(f"the service refused with {status} {reason}{where}", CURES.get(status, USUAL_CURE))


class ServiceAnswerError(ServiceError):
    """The service answered with success, but the body is not what the contract promises."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the service's answer does not read as promised: {why}", CURES[HTTPStatus.NOT_FOUND])
