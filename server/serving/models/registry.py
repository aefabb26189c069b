"""The models of the service by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from server.config.model_sources import ModelSource
from server.errors import InvalidError, NotFoundError, shown
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

    def of(self, name: str) -> ServedModel:
        """The model of that name; raises NotFoundError."""
        found = self._find(name)
        if found is None:
            raise NotFoundError(f"no model {shown(name)!r} is in service; {self._accepted()}", field="model")
        return found

    def asked(self, name: str | None) -> ServedModel:
        """The model that a field of a request names, the default for None; raises InvalidError."""
        found = self.default if name is None else self._find(name)
        if found is None:
            raise InvalidError(f"model is {shown(str(name))}; {self._accepted()}", field="model")
        return found

    def add(self, source: ModelSource) -> ServedModel:
        """A new model; its name must be new."""
        model = self._models[source.name] = self._new_model(source)
        return model

    def _find(self, name: str) -> ServedModel | None:
        found = self._models.get(name)
        # The only model may also be called by the name in its bundle.
        return self.default if found is None and name == self.default.protocol_name else found

    def _accepted(self) -> str:
        return f"accepted: {', '.join(model.protocol_name for model in self._models.values())}"

    def ready(self) -> list[ServedModel]:
        """The models in service."""
        return [model for model in self._models.values() if model.state is ModelState.READY]
