"""The client for programs without asyncio: runs an AsyncClient on an event loop in its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from consumer.client.answer import Answer, Embedding
from consumer.client.async_client import DEFAULT_URL, AsyncClient, Frames
from consumer.client.encodings import JPEG_QUALITY, Encoding, PixelFormat
from consumer.client.stream import Timed
from consumer.client.stream_messages import StreamAnswer, StreamOptions
from consumer.client.wire import Health, Model

T = TypeVar("T")


class Client:
    """A client of the service at ``url``; a context manager that any number of threads may use. See AsyncClient."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 60.0,
        retries: int = 5,
        encoding: Encoding | None = None,
        jpeg_quality: int = JPEG_QUALITY,
        api_key: str | None = None,
    ) -> None:
        self._client = AsyncClient(
            url,
            timeout_s=timeout_s,
            retries=retries,
            encoding=encoding,
            jpeg_quality=jpeg_quality,
            api_key=api_key,
        )

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vjepa2-client", daemon=True)
        self._thread.start()
        self._await(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._await(self._client.__aexit__(kind, error, trace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def classify(
        self,
        frames: Frames,
        *,
        top_k: int | None = None,
        clip_id: str | None = None,
        pixel_format: PixelFormat = "RGB",
        head: str | None = None,
        model: str | None = None,
    ) -> Answer:
        """Send a clip and return its predictions; see AsyncClient.classify."""
        call = self._client.classify(
            frames, top_k=top_k, clip_id=clip_id, pixel_format=pixel_format, head=head, model=model
        )
        return self._await(call)

    def stream(self, frames: Iterable[Timed], options: StreamOptions | None = None) -> Iterator[StreamAnswer]:
        """Send frames, each once, and yield the answers for their windows; see AsyncClient.stream.

        ``frames`` are read in another thread.
        """
        answers = self._client.stream(frames, options)

        async def following() -> StreamAnswer | None:
            return await anext(answers, None)

        try:
            while (answer := self._await(following())) is not None:
                yield answer
        finally:
            self._await(_closed(answers))

    def embed(
        self,
        frames: Frames,
        *,
        clip_id: str | None = None,
        pixel_format: PixelFormat = "RGB",
        model: str | None = None,
    ) -> Embedding:
        """Send a clip and return its features; see AsyncClient.embed."""
        return self._await(self._client.embed(frames, clip_id=clip_id, pixel_format=pixel_format, model=model))

    def models(self) -> tuple[Model, ...]:
        """Return the models in service; see AsyncClient.models."""
        return self._await(self._client.models())

    def model(self, name: str | None = None) -> Model | None:
        """Return the model in service; see AsyncClient.model."""
        return self._await(self._client.model(name))

    def health(self) -> Health:
        """Return the state of the service; see AsyncClient.health."""
        return self._await(self._client.health())

    def wait_until_ready(self, wait_s: float | None = None) -> None:
        """Wait until the service accepts work; see AsyncClient.wait_until_ready."""
        self._await(self._client.wait_until_ready(wait_s))

    def _await(self, call: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except BaseException:
            # After Ctrl-C in the caller's thread, the request must not go on in the event loop's thread.
            future.cancel()
            raise


async def _closed(answers: AsyncIterator[StreamAnswer]) -> None:
    if isinstance(answers, AsyncGenerator):
        await answers.aclose()
