"""The service as the Open Inference Protocol describes it: liveness, readiness, metadata."""

from __future__ import annotations

from aiohttp import web

from server.api.v2 import answers
from server.api.v2.model import answered
from server.api.v2.shared_memory import SHARED_MEMORY_EXTENSION, is_shared_memory_on
from server.config.version import VERSION
from server.http.context import SERVICE

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
)


async def live(request: web.Request) -> web.Response:
    """200 as long as the event loop runs."""
    return answered(answers.ServerLive(live=True))


async def ready(request: web.Request) -> web.Response:
    """200 while the service accepts requests; otherwise raises NotReadyError."""
    request.app[SERVICE].check_ready()
    return answered(answers.ServerReady(live=True, ready=True))


async def metadata(request: web.Request) -> web.Response:
    """Name, version and extensions of the service."""
    shared_memory = (SHARED_MEMORY_EXTENSION,) if is_shared_memory_on(request) else ()
    repository = ("model_repository",) if request.app[SERVICE].settings.api_key_file else ()
    return answered(answers.ServerMetadata("vjepa2-serve", VERSION, [*EXTENSIONS, *shared_memory, *repository]))
