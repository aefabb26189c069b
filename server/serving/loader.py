"""Loads models and puts them in service, at the start, at each reload and when it is asked to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from engines.errors import BundleError, ConfigurationError, EngineError, EngineLostError, MemoryShortError
from server.config.model_sources import ModelSource, found_in
from server.serving.deployment import CLOSE_TIMEOUT_S, Deployment, LoadEngine, deploy
from server.serving.fingerprint import fingerprint
from server.serving.models.served_model import ModelState, ServedModel
from server.serving.service import Service
from server.serving.swap_comparison import SwapComparison, compare_answers

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listed:
    """A model that is or could be in service; ``reason`` says why it is not."""

    name: str
    state: str
    reason: str


class Loader:
    """Loads deployments and gives them to ``service``, one after the other."""

    def __init__(self, service: Service, load: LoadEngine) -> None:
        self._service = service
        self._load = load
        self._turn = asyncio.Lock()
        self._loading: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load all models, then put them in service; one of several that cannot be loaded is left out.

        Raises BundleError, EngineError or ConfigurationError if none can be served, if a device or the settings are at
        fault, or if the models do not fit into the memory together; no engine is left open then.
        """
        loaded: dict[ServedModel, Deployment] = {}
        async with self._turn:
            try:
                for model in self._service.models:
                    if (fresh := await self._started(model, loaded)) is not None:
                        loaded[model] = fresh
            except BaseException:
                for deployment in loaded.values():
                    await deployment.close(CLOSE_TIMEOUT_S)
                raise
            for model, fresh in loaded.items():
                self._service.put(model, fresh)

    async def reload(self, model: ServedModel) -> None:
        """Load the bundle of ``model`` as it is now and replace the old engine; keep the old one if that fails."""
        async with self._turn:
            try:
                await self._replace(model)
            except Exception as error:  # a runtime may raise anything for a bad bundle, and the old engine still works
                model.metrics.reloaded("kept")
                _log.error("reload failed, the old engine stays", extra={"model": model.name, "error": str(error)})

    async def load(self, name: str) -> None:
        """Load the model ``name``, or its bundle again; it may be new in a directory of bundles.

        Raises:
            NotFoundError: there is no such model.
            Exception: it cannot be loaded; what was in service before stays.
        """
        task = asyncio.create_task(self._load_or_tell(name), name="load")
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)
        # A client that leaves must not leave behind an engine that nobody closes.
        await asyncio.shield(task)

    async def unload(self, name: str) -> None:
        """Serve the model ``name`` no more, and free it after its last request; raises NotFoundError."""
        async with self._turn:
            model = self._service.models.of(name)
            model.is_wanted = False
            model.withdraw("it was unloaded")
        _log.info("model unloaded", extra={"model": model.name})

    async def listed(self) -> list[Listed]:
        """All models, and the bundles that could be loaded from the directories."""
        models = [Listed(model.name, model.state.value, model.reason) for model in self._service.models]
        known = {model.name for model in models}
        others = [source for source in await self._found() if source.name not in known]
        return models + [Listed(source.name, ModelState.UNAVAILABLE.value, "it was not loaded") for source in others]

    async def _found(self) -> list[ModelSource]:
        return await asyncio.to_thread(lambda: list(found_in(self._service.settings.directories)))

    async def _load_or_tell(self, name: str) -> None:
        async with self._turn:
            model = await self._known_or_new(name)
            try:
                await self._replace(model)
            except Exception as error:
                if model.deployment is None:
                    model.reason = str(error)
                raise

    async def _started(self, model: ServedModel, loaded: dict[ServedModel, Deployment]) -> Deployment | None:
        """The deployment of ``model``; None if the others, of which some may be in ``loaded``, are served without."""
        try:
            return await self._deploy(model)
        except (ConfigurationError, EngineLostError):
            raise
        except MemoryShortError as error:
            raise _too_much(model, loaded, error) from None
        except Exception as error:
            model.reason = str(error)
            is_last = model is list(self._service.models)[-1]
            if not loaded and is_last:
                raise
            _log.error("model not served", extra={"model": model.name, "error": str(error)})
            return None

    async def _replace(self, model: ServedModel) -> None:
        was_served = model.deployment is not None
        fresh = await self._deploy(model)
        await self._check_swap(model, fresh)
        self._service.put(model, fresh)
        extra = {"model": model.name, "bundle": fresh.model.manifest.name}
        if was_served:
            model.metrics.reloaded("swapped")
            _log.info("engine swapped", extra=extra)
        else:
            _log.info("model loaded", extra=extra)

    async def _known_or_new(self, name: str) -> ServedModel:
        models = self._service.models
        if name not in {model.name for model in models}:
            for source in await self._found():
                if source.name == name:
                    return models.add(source)
        return models.of(name)

    async def _check_swap(self, model: ServedModel, fresh: Deployment) -> None:
        """Compare the answers of ``fresh`` with those in service; close it and raise if it must not take over."""
        try:
            found = await self._compared(model, fresh)
            limit = self._service.settings.swap_max_disagreement
            if found.disagreement > limit:
                raise BundleError(
                    f"{found.changed} of {found.clips} clips get another most probable action with the new engine",
                    help=f"look at the new bundle, or raise --swap-max-disagreement (now {limit:g})",
                )
        except BaseException:
            await fresh.close(CLOSE_TIMEOUT_S)
            raise

    async def _compared(self, model: ServedModel, fresh: Deployment) -> SwapComparison:
        old, clips = model.deployment, await model.recent_clips.clips()
        if old is None:
            return SwapComparison()
        found = await compare_answers(old, fresh, [*clips, *(fresh.reference.clips if fresh.reference else ())])
        model.swap = found
        _log.info(
            "answers of both engines compared",
            extra={
                "model": model.name,
                "clips": found.clips,
                "top1_changed": found.changed,
                "largest_probability_difference": round(found.largest, 6),
            },
        )
        return found

    async def _deploy(self, model: ServedModel) -> Deployment:
        # Before the load, so that no change while it loads is missed.
        model.files = await asyncio.to_thread(fingerprint, model.source.path)
        service = self._service

        def lost(deployment: Deployment, error: EngineLostError) -> None:
            service.engine_lost(model, deployment, error)

        return await deploy(
            service.settings, model.source, self._load, model.throughput, model.metrics, model.shares, lost
        )


def _too_much(model: ServedModel, loaded: Mapping[ServedModel, Deployment], error: MemoryShortError) -> EngineError:
    """The error for ``model``, for which those that are ``loaded`` left too little memory."""
    if not loaded:
        return error
    taken = ", ".join(f"{other.name} takes {deployment.reserved_mib} MiB" for other, deployment in loaded.items())
    return MemoryShortError(
        f"the models do not fit into the memory together: {taken}, and {model.name} finds no room: {error.message}",
        help="serve fewer models, lower --max-clip-mb or --max-inflight-mb, take --lanes 1, or export with a smaller"
        " --max-batch",
    )
