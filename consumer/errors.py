"""The exceptions of the consumer and its client.

ConsumerError                       one line that ends with a hint on what to do
├── SourceError                     exit code 2: the source cannot provide frames
│   ├── SourceUnreadableError       it cannot be opened, or reading failed
│   ├── SourceSilentError           it is connected but sends no frames
│   ├── NoVideoError                it contains no video that can be decoded
│   ├── BackendMissingError         the chosen backend is not installed or cannot read it
│   └── SourceStoppedError          reading was stopped by the consumer
├── OutputError                     exit code 2: events, saved clips or metrics cannot be written
├── ClipError                       exit code 2: the frames do not form a valid clip
├── TransportError                  exit code 2: the service has no streams, but streams were asked for
├── ClipDroppedError                a live source has newer clips waiting
├── ClipStillError                  the service did not classify the clip, because nothing moves in it
└── ServiceError                    exit code 1: the service did not classify the clip
    ├── ServiceUnreachableError     no answer: connection refused or lost, timeout
    │   ├── ServiceAwayError        it was not ready for as long as the consumer may wait
    │   └── StreamClosedError       the connection of a stream ended before the stream
    ├── ServiceRefusedError         an HTTP error answer (RFC 9457 problem+json)
    └── ServiceAnswerError          a success answer that does not match the API contract
"""

from __future__ import annotations

from http import HTTPStatus

from commandline.programs import command

HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "set VJEPA_API_KEY to a key that the service accepts",
    HTTPStatus.NOT_FOUND: "check that --service-url is a V-JEPA 2 service",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send smaller frames with --short-edge",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the service may be older than this consumer; use --encoding json",
    HTTPStatus.UNPROCESSABLE_ENTITY: "leave out --frames to use the model's frame count, and check --top-k",
    HTTPStatus.TOO_MANY_REQUESTS: "send fewer clips with a larger --clip-stride, or raise the service's --rate-limit",
    HTTPStatus.SERVICE_UNAVAILABLE: "the service is overloaded or not ready: raise --retries, or see its log",
}
DEFAULT_HINT = "see the service's log"
REDIRECTS = range(300, 400)
REDIRECT_HINT = "set --service-url to the address at which the service itself answers"

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
"""Statuses whose cause is not the clip. 500 is not among them: the same clip would probably fail again."""


class ConsumerError(Exception):
    """An expected failure; ``str()`` is one line: what happened, then ``help:`` and a hint."""

    exit_code = 1

    def __init__(self, what: str, hint: str) -> None:
        self.what = what
        super().__init__(f"{what}; help: {hint}")


class SourceError(ConsumerError):
    """The source cannot provide frames."""

    exit_code = 2


class SourceUnreadableError(SourceError):
    """The source cannot be opened, or reading it failed."""


class SourceSilentError(SourceError):
    """The source sent no frame for ``silence_s`` seconds."""

    def __init__(self, source: str, silence_s: float) -> None:
        super().__init__(f"{source} sent no frame for {silence_s:g} s", "check the sender, or raise --silence-timeout")


class NoVideoError(SourceError):
    """The source can be opened but contains no video that can be decoded."""


class BackendMissingError(SourceError):
    """The software of the chosen backend is not installed, or the backend cannot read this kind of source."""


class SourceStoppedError(SourceError):
    """The consumer stopped reading before the end of the source, so the frames read so far are incomplete."""

    def __init__(self, source: str) -> None:
        super().__init__(f"reading {source} was stopped", "start the consumer again")


class OutputError(ConsumerError):
    """Events, saved clips or metrics cannot be written to the configured place."""

    exit_code = 2


class ClipError(ConsumerError):
    """The frames do not form a clip: there are none, or they are not uint8 ``[height, width, 3]`` of one size."""

    exit_code = 2


class ClipDroppedError(ConsumerError):
    """The clip has to be sent again, but newer clips of the same live source are waiting."""

    def __init__(self) -> None:
        super().__init__("the clip is outdated", "raise --queue, or use a faster service")


class ClipStillError(ConsumerError):
    """The service did not classify the clip, because nothing moves in it."""

    def __init__(self) -> None:
        super().__init__("nothing moves in the clip", "leave out --still to have such clips classified")


class TransportError(ConsumerError):
    """Streams were asked for, but the service at ``url`` has none."""

    exit_code = 2

    def __init__(self, url: str) -> None:
        super().__init__(f"the service at {url} has no streams", "use --transport clips without --still")


class ServiceError(ConsumerError):
    """The service did not classify the clip.

    ``retriable`` says whether the same request may succeed later. ``retry_after_s`` is the minimum pause in seconds
    that the service asks for (``None`` if it does not ask).
    """

    retriable = False
    retry_after_s: float | None = None


class ServiceUnreachableError(ServiceError):
    """The service at ``url`` did not answer; ``reason`` says how the request failed."""

    retriable = True

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        hint = f"start it with `{command('serve')}`, or set its address with --service-url or VJEPA_SERVICE_URL"
        super().__init__(f"the service at {url} {reason}", hint)


class ServiceAwayError(ServiceUnreachableError):
    """The service was not ready for as long as the consumer may wait, so no source can continue."""


class StreamClosedError(ServiceUnreachableError):
    """The connection of a stream ended before the stream; ``code`` and ``why`` are those of the WebSocket's close.

    1001: the service stops. 1006: the connection was lost. 1013: the service is overloaded or has lost its engine.
    """

    def __init__(self, url: str, code: int, why: str) -> None:
        self.code = code
        self.why = why
        super().__init__(url, f"closed the stream ({code}{': ' if why else ''}{why})")


class ServiceRefusedError(ServiceError):
    """The service answered with an HTTP error.

    ``status`` is the HTTP status. ``title``, ``detail`` and ``field`` (``None`` if no single field caused the error)
    come from the problem+json body.
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
        hint = REDIRECT_HINT if status in REDIRECTS else HINTS.get(status, DEFAULT_HINT)
        super().__init__(f"the service refused the request with {status} {reason}{where}", hint)


class ServiceAnswerError(ServiceError):
    """The service answered with success, but the body does not match the API contract."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the service's answer does not match the API contract: {why}", HINTS[HTTPStatus.NOT_FOUND])
