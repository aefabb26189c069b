"""The sinks for events: standard output, a webhook, an MQTT broker."""

from __future__ import annotations

import importlib
import sys
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from yarl import URL

from consumer.errors import RETRIABLE, OutputError

ACCEPTED_TARGETS = "accepted: stdout, http://HOST/PATH, https://HOST/PATH, mqtt://HOST/TOPIC, mqtts://HOST/TOPIC"

SEND_TIMEOUT_S = 10.0
MQTT_PORT = 1883
MQTTS_PORT = 8883
AT_LEAST_ONCE = 1


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
    """Return a valid ``target`` unchanged; raises ValueError that lists the accepted forms."""
    if target == "stdout":
        return target
    try:
        url = URL(target)
    except ValueError:
        url = URL()
    topic = url.path.strip("/")
    if not url.host or not (url.scheme in ("http", "https") or (url.scheme in ("mqtt", "mqtts") and topic)):
        raise ValueError(f"{target!r} is not a target for events; {ACCEPTED_TARGETS}")
    return target


def open_sink(target: str) -> Sink:
    """Create the sink for a target that ``check_target`` accepts; raises OutputError if its library is missing."""
    if target == "stdout":
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
        sys.stdout.write(event.decode() + "\n")
        sys.stdout.flush()


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
            async with self._session.post(self._url, data=event, headers=headers) as answer:
                status = answer.status
        except (TimeoutError, aiohttp.ClientError) as error:
            raise UndeliveredError(str(error) or type(error).__name__) from error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            retriable = status in RETRIABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise UndeliveredError(f"answered {status}", retriable)


class Mqtt(_Context):
    """Publishes each event with QoS 1 to the topic in the URL's path. Needs the extra ``mqtt``."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self.name = str(url.with_user(None))
        self._topic = str(PurePosixPath(url.path.strip("/")))
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
