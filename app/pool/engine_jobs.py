"""The jobs of one engine, which outlive its processes."""

from collections.abc import Callable, Mapping, Set

from app.pool.errors import OTHER_MACHINE, NotReady
from app.pool.inflight import InFlight
from app.pool.makers import can_go_on
from app.pool.tally import Tally
from app.wire.flight_recorder import Place
from app.wire.messages import Cancel, Charge, Done, Event, Failed, Message, Pause
from app.wire.model_info import ModelInfo

HIGH_WATER, LOW_WATER = 2 << 20, 1 << 19
"""Bytes of events waiting for a reader: above the first its job pauses, until below the second. The
parts of a request share them."""


class EngineJobs:
    """What is in flight, by id. The process is told of a job once it has the job's model: `loaded`
    are those that it has now."""

    def __init__(
        self, loaded: Set[str], send: Callable[[Message], None], on_end: Callable[[], None]
    ) -> None:
        """`send` tells the process something; `on_end` is called when a job is over."""
        self.inflight: dict[str, InFlight] = {}
        self.tally = Tally()
        self._loaded = loaded
        self._send = send
        self._on_end = on_end

    @property
    def have_work(self) -> bool:
        """Is there a job of which the process can take a step?"""
        return any(
            not inflight.is_paused and inflight.submit.model in self._loaded
            for inflight in self.inflight.values()
        )

    def submit(self, inflight: InFlight) -> None:
        """Run a job, now or as soon as its model is loaded again."""
        self._keep(inflight)
        self._send_for(inflight, inflight.submit)

    def adopt(self, inflight: InFlight) -> None:
        """Run what is left of another engine's job, now or as soon as its model is loaded."""
        self._keep(inflight)
        self._go_on(inflight)

    def give_up(self, inflight: InFlight) -> None:
        """Run a job no more, which is not over: another engine adopts it."""
        del self.inflight[inflight.submit.id]
        inflight.count_out(self.tally)
        self._send_for(inflight, Cancel(inflight.submit.id))
        self._on_end()

    def resume(self, model: str, info: ModelInfo) -> None:
        """Have the process do what is left of the jobs of a model, which it has now, unless they
        must be made by another."""
        for inflight in self._of(model):
            if can_go_on(inflight.submit.made_by, info):
                self._go_on(inflight)
            else:
                self.release(inflight)
                inflight.refuse(NotReady(OTHER_MACHINE, 1))

    def accept(self, event: Event) -> None:
        """Pass an event on to whoever reads its job's."""
        inflight = self.inflight.get(event.id)
        if inflight is None:
            return
        inflight.accept(event)
        if isinstance(event, Done | Failed):
            self._end(inflight)
            self._on_end()
        else:
            self.keep_pace(inflight)

    def keep_pace(self, inflight: InFlight) -> None:
        """Pause a job whose reader is behind; let it go on when the reader has caught up."""
        water = LOW_WATER if inflight.is_paused else HIGH_WATER
        pause = inflight.buffered > water // inflight.parts
        if pause != inflight.is_paused and inflight.submit.id in self.inflight:
            inflight.is_paused = pause
            self._send_for(inflight, Pause(inflight.submit.id, pause))

    def charge(self, inflight: InFlight) -> None:
        """Count the process' time for a job as that of the client that pays for it now."""
        if inflight.submit.id in self.inflight:
            self._send_for(inflight, Charge(inflight.submit.id, inflight.submit.client))

    def release(self, inflight: InFlight) -> None:
        """Cancel what is left of a job, since nobody reads its events any more."""
        if inflight.submit.id in self.inflight:
            self._end(inflight)
            self._send_for(inflight, Cancel(inflight.submit.id))
            self._on_end()

    def refuse(self, model: str, reason: str) -> None:
        """End the jobs of a model for this reason."""
        for inflight in self._of(model):
            self.release(inflight)
            inflight.refuse(NotReady(reason))

    def outlive(self, places: Mapping[str, Place], *, was_killed: bool) -> None:
        """Note that a process died while it was at these places, and end the jobs that end with
        it."""
        for inflight in list(self.inflight.values()):
            last = inflight.ending(places, was_killed=was_killed)
            if last is not None:
                inflight.accept(last)
                self._end(inflight)

    def _keep(self, inflight: InFlight) -> None:
        self.inflight[inflight.submit.id] = inflight
        inflight.holder = self
        inflight.count_in(self.tally)

    def _go_on(self, inflight: InFlight) -> None:
        """Tell the process of what is left of a job."""
        self._send_for(inflight, inflight.remainder())
        if inflight.is_paused:
            self._send_for(inflight, Pause(inflight.submit.id, True))

    def _end(self, inflight: InFlight) -> None:
        del self.inflight[inflight.submit.id]
        inflight.end()

    def _of(self, model: str) -> list[InFlight]:
        return [inflight for inflight in self.inflight.values() if inflight.submit.model == model]

    def _send_for(self, inflight: InFlight, message: Message) -> None:
        """Tell the process of a job, unless it is told all of it later, with the model."""
        if inflight.submit.model in self._loaded:
            self._send(message)
