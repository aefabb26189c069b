"""The sinks for events: standard output, a webhook, an MQTT broker."""

from __future__ import annotations

import importlib
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from yarl import URL

from consumer.errors import REDIRECTS, RETRIABLE, OutputError
from consumer.output.standard_output import check_standard_output, write_line
from consumer.shown_text import shown_url

ACCEPTED_TARGETS = "accepted: stdout, http://HOST/PATH, https://HOST/PATH, mqtt://HOST/TOPIC, mqtts://HOST/TOPIC"

SEND_TIMEOUT_S = 10.0
MQTT_PORT = 1883
MQTTS_PORT = 8883
AT_LEAST_ONCE = 1
# MQTT writes the length of a topic in two bytes.
MOST_TOPIC_BYTES = 65_535


class UndeliveredError(Exception):
    """The event was not delivered; ``retriable`` says whether a later attempt may succeed."""

    def __init__(self, reason: str, retriable: bool = True) -> None:
        super().__init__(reason)
        self.retriable = retriable


class Sink(Protocol):
    """Receives events; an async context manager. ``name`` has no password in it."""

    name: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def send(self, event: bytes) -> None:
        """Deliver the JSON of an event; raises UndeliveredError."""
        ...


def check_target(target: str) -> str:
    """Return a valid ``target`` unchanged; raises ValueError that says what is wrong and lists the accepted forms."""
    if target != "stdout" and (fault := _fault(target)):
        raise ValueError(f"{shown_url(target)} is not a target for events: {fault}; {ACCEPTED_TARGETS}")
    return target


def _fault(target: str) -> str | None:
    try:
        url = URL(target)
        (url.host or "").encode("idna")
    except ValueError:
        return "it is not a valid URL"
    if url.scheme not in ("http", "https", "mqtt", "mqtts"):
        return f"{url.scheme or 'it has no scheme, which'} is not supported"
    if not url.host or url.port == 0:
        return "it has no host or no port"
    return _topic_fault(url, target) if url.scheme.startswith("mqtt") else None


def _topic_fault(url: URL, target: str) -> str | None:
    topic = _topic(url)
    if not topic or url.query_string:
        return "a topic is needed, and no query may follow it"
    if "#" in target + topic or "+" in topic or "\0" in topic:
        return "events cannot be published to a topic with one of the wildcards + and #, or with a zero byte"
    return None if len(topic.encode()) <= MOST_TOPIC_BYTES else f"its topic is longer than {MOST_TOPIC_BYTES} bytes"


def _topic(url: URL) -> str:
    return str(PurePosixPath(url.path.strip("/"))) if url.path.strip("/") else ""


def open_sink(target: str) -> Sink:
    """Create the sink for a target that ``check_target`` accepts.

    Raises OutputError if its library is missing or stdout is closed, and BrokenPipeError if nobody reads stdout.
    """
    if target == "stdout":
        check_standard_output()
        return StandardOutput()
    url = URL(target)
    return Webhook(url) if url.scheme in ("http", "https") else Mqtt(url)


class _Context:
    """An async context manager that closes on exit what was entered into ``_stack``."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


class StandardOutput(_Context):
    """Writes each event as a line of JSON."""

    name = "stdout"

    async def send(self, event: bytes) -> None:
        """Write the event as a line."""
        write_line(event.decode())


class Webhook(_Context):
    """Sends each event in a POST request; any 2xx status is success."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self.name = str(url.with_user(None).with_query(None))
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def send(self, event: bytes) -> None:
        """POST the event; raises UndeliveredError."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=SEND_TIMEOUT_S)
            self._session = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        headers = {"Content-Type": "application/json"}
        try:
            # Redirects are refused, because aiohttp would turn the POST into a GET.
            async with self._session.post(self._url, data=event, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except aiohttp.InvalidURL:
            raise OutputError(f"events cannot be sent to {self.name}", "give --events a valid address") from None
        except (TimeoutError, aiohttp.ClientError) as error:
            raise UndeliveredError(str(error) or type(error).__name__) from error
        if status in REDIRECTS:
            raise UndeliveredError(f"answered {status}, a redirect, which is not followed", retriable=False)
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            retriable = status in RETRIABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise UndeliveredError(f"answered {status}", retriable)


class Mqtt(_Context):
    """Publishes each event with QoS 1 to the topic in the URL's path. Needs the extra ``mqtt``."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self.name = str(url.with_user(None))
        self._topic = _topic(url)
        secure = url.scheme == "mqtts"
        try:
            self._library: Any = importlib.import_module("aiomqtt")
        except ImportError:
            raise OutputError("events over MQTT need aiomqtt", "run pip install 'vjepa2-serve[mqtt]'") from None
        self._arguments: dict[str, Any] = {
            "hostname": url.host,
            "port": url.port or (MQTTS_PORT if secure else MQTT_PORT),
            "username": url.user,
            "password": url.password,
            "tls_params": self._library.TLSParameters() if secure else None,
            "timeout": SEND_TIMEOUT_S,
        }
        self._client: Any = None

    async def send(self, event: bytes) -> None:
        """Publish the event and wait for the broker's confirmation; raises UndeliveredError."""
        try:
            if self._client is None:
                self._client = await self._stack.enter_async_context(self._library.Client(**self._arguments))
            await self._client.publish(self._topic, event, qos=AT_LEAST_ONCE)
        except self._library.MqttError as error:
            await self._disconnect()
            raise UndeliveredError(str(error) or type(error).__name__) from error

    async def _disconnect(self) -> None:
        """Close the connection; the next event opens a new one."""
        self._client = None
        stack, self._stack = self._stack, AsyncExitStack()
        try:
            await stack.aclose()
        except self._library.MqttError:
            return

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disconnect()
