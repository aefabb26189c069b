"""The typed client of the service, for this consumer and for other programs; it does not need PyAV."""

from consumer.client.answer import Answer, Embedding, Prediction
from consumer.client.async_client import AsyncClient
from consumer.client.stream_messages import (
    StreamAnswer,
    StreamEnded,
    StreamGap,
    StreamOptions,
    StreamProblem,
    StreamReady,
    WindowPrediction,
    WindowSkipped,
)
from consumer.client.sync_client import Client
from consumer.client.wire import Health, Model
from consumer.errors import (
    ClipError,
    ConsumerError,
    ServiceError,
    ServiceRefusedError,
    ServiceUnreachableError,
    StreamClosedError,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ClipError",
    "ConsumerError",
    "Embedding",
    "Health",
    "Model",
    "Prediction",
    "ServiceError",
    "ServiceRefusedError",
    "ServiceUnreachableError",
    "StreamAnswer",
    "StreamClosedError",
    "StreamEnded",
    "StreamGap",
    "StreamOptions",
    "StreamProblem",
    "StreamReady",
    "WindowPrediction",
    "WindowSkipped",
]
