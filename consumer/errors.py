"""Everything that can go wrong in the consumer.

ConsumerError                       one clear line, ended by what to do about it
├── SourceError                     exit code 2: the source cannot give frames
│   ├── SourceUnreadableError       it cannot be opened or read on
│   ├── SourceSilentError           it is there, but sends nothing
│   ├── NoVideoError                it opens, but there is nothing in it to look at
│   ├── BackendMissingError         what was chosen to read it with is not installed
│   └── SourceStoppedError          nobody wants its frames any more
├── OutputError                     exit code 2: what was asked for beside the log cannot be given
├── ClipError                       exit code 2: the frames are no clip
├── ClipDroppedError                a live source has newer clips than this one
└── ServiceError                    exit code 1: the service did not classify the clip
    ├── ServiceUnreachableError     no answer: refused, timed out, broken off, never ready
    ├── ServiceRefusedError         an answer that is an error (RFC 9457 problem+json)
    └── ServiceAnswerError          a success that does not read as the contract says
"""

from __future__ import annotations

from http import HTTPStatus

CURES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "give a key that the service knows in VJEPA_API_KEY",
    HTTPStatus.NOT_FOUND: "check that --service-url is a V-JEPA 2 service",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send smaller frames with --short-edge",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the service may be older than this consumer: use --encoding json",
    HTTPStatus.UNPROCESSABLE_ENTITY: "leave out --frames to use the service's own frame count, and check --top-k",
    HTTPStatus.TOO_MANY_REQUESTS: "send fewer clips with a larger --clip-stride, or raise the service's --rate-limit",
    HTTPStatus.SERVICE_UNAVAILABLE: "the service is overloaded or not ready: raise --retries, or see its log",
}
USUAL_CURE = "see the service's log"

RETRIABLE = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""What says nothing about the clip itself. Not 500: a clip that made the service fail would do so again."""


class ConsumerError(Exception):
    """An expected failure; ``str()`` is one line: what happened, then ``help:`` and the cure."""

    exit_code = 1

    def __init__(self, what: str, cure: str) -> None:
        self.what = what
        super().__init__(f"{what}; help: {cure}")


class SourceError(ConsumerError):
    """The source cannot give frames."""

    exit_code = 2


class SourceUnreadableError(SourceError):
    """The source cannot be opened, or reading it failed half way."""


class SourceSilentError(SourceError):
    """No frame came for ``silence_s`` seconds."""

    def __init__(self, source: str, silence_s: float) -> None:
        super().__init__(f"{source} sent no frame for {silence_s:g} s", "check the sender, or raise --silence-timeout")


class NoVideoError(SourceError):
    """The source opens but holds no moving picture that can be decoded."""


class BackendMissingError(SourceError):
    """The backend's own software is not installed here, or cannot read this kind of source."""


class SourceStoppedError(SourceError):
    """Reading was stopped before the source's end; what came until then is not the whole."""

    def __init__(self, source: str) -> None:
        super().__init__(f"reading {source} was stopped", "start again")


class OutputError(ConsumerError):
    """Events, saved clips or metrics cannot go where they were asked to."""

    exit_code = 2


class ClipError(ConsumerError):
    """What was given as a clip's frames is none: not uint8 ``[height, width, 3]``, of several sizes, or nothing."""

    exit_code = 2


class ClipDroppedError(ConsumerError):
    """The clip could not be sent at once, and newer ones of the same live source are waiting."""

    def __init__(self) -> None:
        super().__init__("the clip is outdated", "raise --queue, or have the service answer faster")


class ServiceError(ConsumerError):
    """The service did not classify the clip.

    ``retriable`` tells whether the same clip may well be classified later, ``retry_after_s`` after how many seconds
    at the earliest (``None`` where the service does not say).
    """

    retriable = False
    retry_after_s: float | None = None


class ServiceUnreachableError(ServiceError):
    """No answer came from ``url``; ``reason`` says how that showed."""

    retriable = True

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        cure = "start it with `just serve`, or say where it is with --service-url or VJEPA_SERVICE_URL"
        super().__init__(f"the service at {url} {reason}", cure)


class ServiceRefusedError(ServiceError):
    """The service answered with an error.

    ``status`` is the HTTP status; ``title``, ``detail`` and ``field`` (``None`` where no field is at fault) are
    those of the problem+json body.
    """

    def __init__(
        self, status: int, title: str, detail: str, field: str | None = None, retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field
        self.retriable = status in RETRIABLE
        self.retry_after_s = retry_after_s
        where = f" (field {field})" if field else ""
        reason = ": ".join(part for part in (title, detail) if part)
        super().__init__(f"the service refused with {status} {reason}{where}", CURES.get(status, USUAL_CURE))


class ServiceAnswerError(ServiceError):
    """The service answered with success, but the body is not what the contract promises."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the service's answer does not read as promised: {why}", CURES[HTTPStatus.NOT_FOUND])
