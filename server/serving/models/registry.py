"""The models of the service by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from server.config.model_sources import ModelSource
from server.errors import NotFoundError, shown
from server.serving.models.served_model import ModelState, ServedModel


class Registry:
    """All models that were named at the start, and those that were loaded later; the first is the default.

    Invariant: belongs to the event loop; models are added and never removed, an unloaded one stays under its name.
    """

    def __init__(self, sources: Sequence[ModelSource], new_model: Callable[[ModelSource], ServedModel]) -> None:
        self._new_model = new_model
        self._models = {source.name: new_model(source) for source in sources}
        self.default = next(iter(self._models.values()))

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(tuple(self._models.values()))

    @property
    def are_several(self) -> bool:
        return len(self._models) > 1

    def of(self, name: str | None) -> ServedModel:
        """The model of that name, the default for None; raises NotFoundError."""
        if name is None:
            return self.default
        found = self._models.get(name)
        if found is not None:
            return found
        if name == self.default.protocol_name:
            return self.default
        accepted = ", ".join(model.protocol_name for model in self._models.values())
        raise NotFoundError(f"no model {shown(name)!r} is in service; accepted: {accepted}", field="model")

    def add(self, source: ModelSource) -> ServedModel:
        """A new model; its name must be new."""
        model = self._models[source.name] = self._new_model(source)
        return model

    def ready(self) -> list[ServedModel]:
        """The models in service."""
        return [model for model in self._models.values() if model.state is ModelState.READY]
