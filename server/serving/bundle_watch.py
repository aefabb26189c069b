"""Reloads models on SIGHUP or when their bundles on disk change."""

from __future__ import annotations

import asyncio

from server.serving.fingerprint import Fingerprint, fingerprint
from server.serving.loader import Loader
from server.serving.models.registry import Registry
from server.serving.models.served_model import ModelState, ServedModel


class Demands:
    """Models that are to be reloaded, each once however often it is demanded.

    Invariant: belongs to the event loop; ``_any`` is set if and only if ``_models`` is not empty.
    """

    def __init__(self) -> None:
        self._models: dict[ServedModel, None] = {}
        self._any = asyncio.Event()

    def demand(self, model: ServedModel) -> None:
        self._models[model] = None
        self._any.set()

    async def next(self) -> ServedModel:
        """Wait for a model that is to be reloaded, the one that was demanded first."""
        await self._any.wait()
        model = next(iter(self._models))
        del self._models[model]
        if not self._models:
            self._any.clear()
        return model


async def reload_on_demand(loader: Loader, demands: Demands) -> None:
    """Reload what is demanded, one model after the other."""
    while True:
        await loader.reload(await demands.next())


async def demand_all(models: Registry, wanted: asyncio.Event, demands: Demands) -> None:
    """Demand all models whenever ``wanted`` is set."""
    while True:
        await wanted.wait()
        wanted.clear()
        for model in models:
            if model.is_wanted:
                demands.demand(model)


async def watch_bundles(models: Registry, every_s: float, demands: Demands) -> None:
    """Demand each model whose files differ from those that were loaded and were stable for ``every_s``."""
    seen: dict[ServedModel, Fingerprint] = {}
    while True:
        await asyncio.sleep(every_s)
        for model in models:
            now = await asyncio.to_thread(fingerprint, model.source.path)
            # What is not loaded yet has no files to differ from.
            is_due = model.is_wanted and model.state is not ModelState.LOADING
            if is_due and now and now == seen.get(model) and now != model.files:
                # A reload notes the files when it begins, which may be later.
                model.files = now
                demands.demand(model)
            seen[model] = now
