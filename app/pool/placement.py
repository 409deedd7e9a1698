"""Which engines load which models, and which make room for them.

Every engine has all models that fit into its memory. Where they do not all fit, each has what was
asked for last: a model that none has takes the place of the least recently used one on one engine,
and others load it, too, when there is much to do.
"""

import logging
from collections.abc import Iterable, Sequence

from app.pool.engine import HasModels
from app.pool.memory import Memory, Place
from app.pool.registry import Registry
from app.pool.version import Version

log = logging.getLogger("ddpm.models")


class Placement(Registry):
    """Has engines load and unload models, within the memory of each."""

    def __init__(self, max_bytes: int) -> None:
        """All models of an engine together take at most `max_bytes` of its device's memory; 0: as
        much as there is."""
        super().__init__()
        self._memory = Memory(self, max_bytes)

    def join(self, engine: HasModels) -> None:
        """Have an engine that comes later load what others have or are to have, as far as it has
        memory for that."""
        for version in self._memory.fitting(self._held.values()):
            if version.known is not None:
                engine.loads.expect(version.key, version.known)
            engine.load(version.load)

    def rest(self) -> None:
        """Have nothing loaded that nobody uses, until somebody asks for it: no engine is left."""
        for version in list(self._held.values()):
            if version.known is not None and not version.users:
                del self._held[version.key]

    def spread(self, version: Version, engines: Iterable[HasModels]) -> None:
        """Have one of these engines, which have time for it, load a version, too; unless one does
        already."""
        if not any(self._loads_now(engine, version) for engine in self.engines):
            self._load_at(self._memory.more_places(version, engines), version)

    def _place(self, version: Version) -> None:
        """Have a version loaded where there is room for it, if that is so."""
        places = self._memory.places(version)
        if self.engines and not places:
            return
        if self._is_loading and any(place.victims for place in places):
            return  # who makes room is chosen when that load is done
        self._waiting.pop(version.key, None)
        self._held[version.key] = version
        if not self.engines:
            self._coming.ask()
        self._load_at(places, version)

    def _load_at(self, places: Sequence[Place], version: Version) -> None:
        """Have engines load a version that do not have it, after they have made room for it."""
        for place in places:
            if version.key not in place.engine.loads.wanted:
                self._make_room(place)
                place.engine.load(version.load)

    def _make_room(self, place: Place) -> None:
        for held in place.victims or ():
            log.info(
                "model %s is unloaded at %s: others need its memory", held.name, place.engine.name
            )
            place.engine.unload(held.key)
            if not self.is_wanted(held):
                self._held.pop(held.key, None)

    @property
    def _is_loading(self) -> bool:
        """Is a version being loaded that no engine has yet?"""
        return any(map(self.is_being_loaded, self.all_versions()))

    def _place_besides(self, version: Version) -> None:
        """Have every engine load a version, too, that has room for it."""
        places = [Place(engine, self._memory.victims(engine, version)) for engine in self.engines]
        self._load_at([place for place in places if place.victims == []], version)

    def _settle_memory(self) -> None:
        """Unload what is more than may be."""
        for engine in self.engines:
            victims = self._memory.victims(engine, None)
            if victims and not self._is_loading:
                self._make_room(Place(engine, victims))

    def _unload(self, version: Version) -> None:
        self._held.pop(version.key, None)
        for engine in self.engines:
            if version.key in engine.loads.wanted:
                engine.unload(version.key)
