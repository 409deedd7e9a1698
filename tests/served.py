"""The models of a server that has no engines, for tests of what depends on them."""

import dataclasses
from collections.abc import Callable, Sequence

from app.pool.loads import Loads
from app.pool.models import Models
from app.pool.version import Source, name_of
from app.wire.messages import Load, Loaded, Starting, Unusable
from app.wire.model_info import ModelInfo
from tests.model_info import MODEL


class StubEngine:
    """Loads what it is told at once, or, if it is slow, when the test says so. `told` is what it
    was told."""

    def __init__(
        self,
        models: Models,
        infos: Sequence[ModelInfo] = (),
        name: str = "0",
        *,
        is_slow: bool,
    ) -> None:
        self.loads = Loads()
        self.starting: Starting | None = None
        self.told: list[str] = []
        self.infos = {info.name: info for info in infos}
        self.memory_bytes: dict[str, int] = {}  # by name; 1000 where it says nothing
        self.name = name
        self.busy: set[str] = set()  # the models of which it has jobs
        self._models = models
        self.is_slow = is_slow

    def load(self, load: Load) -> None:
        self.loads.want(load)
        self.told.append(f"load {load.model}")
        if not self.is_slow:
            self.finish(load.model)

    def finish(self, model: str, seconds: float = 2.0, **changes: str) -> None:
        """Have loaded a model, whose info has these `changes`."""
        name = name_of(model)
        info = dataclasses.replace(self.infos.get(name, MODEL), name=name)
        size = self.memory_bytes.get(name, 1000)
        loaded = Loaded(model, dataclasses.replace(info, **changes), seconds, size)  # type: ignore[arg-type]
        self.loads.accept(loaded)
        self._models.on_loaded(loaded)

    def reject(self, model: str, reason: str, *, has_changed: bool = False) -> None:
        """Be unable to load a model."""
        self.loads.reject(model)
        self._models.on_unusable(Unusable(model, reason, has_changed))

    def die(self) -> None:
        """Start again, with nothing loaded yet."""
        self.loads.die(())
        self._models.on_death()

    def unload(self, model: str) -> None:
        self.loads.forget(model)
        self.loads.loaded.discard(model)
        self.told.append(f"unload {model}")

    def fail(self, model: str, reason: str) -> None:
        self.unload(model)
        self.told[-1] = f"fail {model}: {reason}"

    def has_jobs(self, model: str) -> bool:
        return model in self.busy

    def serves(self, model: str) -> bool:
        return model in self.loads.loaded and model in self.loads.wanted


def models_of(
    *sources: Source,
    max_bytes: int = 0,
    infos: Sequence[ModelInfo] = (),
    is_slow: bool = False,
    on_unusable: Callable[[str], None] = print,
) -> tuple[Models, StubEngine]:
    """Models with one engine that has been told to load them; by default one, of the name `m`."""
    models = Models(sources or (Source("m", "m"),), 0, max_bytes, on_unusable, 4)
    engine = StubEngine(models, infos, is_slow=is_slow)
    models.engines = [engine]
    models.start()
    return models, engine
