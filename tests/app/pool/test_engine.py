"""What the pool asks of an engine; tests/app/pool/test_pool.py says what it does with that."""

from app.pool.child import on_this_machine
from app.pool.engine import Engine
from app.pool.engine_process import EngineProcess
from app.pool.inflight import InFlight
from app.wire.messages import Submit
from app.wire.options import Options
from tests.app.pool.engine_processes import Told


def test_an_engine_process_is_an_engine_before_it_has_started() -> None:
    connect = on_this_machine(Options("cpu", "auto", threads=1))
    engine: Engine = EngineProcess("0", "device: cpu", connect, 60, print, Told())
    assert (engine.name, engine.is_ready, engine.state) == ("0", False, "starting")
    inflight = InFlight(Submit("a", "m#1", 1, (0, 1), None, "ddim", 10), None, None, print)
    engine.submit(inflight)
    assert (engine.backlog, engine.tally.samples, list(engine.inflight)) == (20, 2, ["a"])
    engine.give_up(inflight)
    assert (engine.backlog, engine.tally.samples, list(engine.inflight)) == (0, 0, [])
    engine.adopt(inflight)
    assert engine.backlog == 20
