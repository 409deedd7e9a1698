"""Whatever comes, goes, waits and ends, in whatever order the device works: what is made has the
bytes of the plain loop."""

import random
from typing import Any, Literal

import pytest

from app.wire.messages import Finished, Submit
from diffusion.spacing import SamplerName
from tests.app.engine.slots.conftest import Desk
from tests.app.engine.slots.fake_queue import FakeQueue

SAMPLERS: tuple[SamplerName, ...] = ("ddpm", "ddim", "dpmpp", "unipc", "ipndm")


def any_job(number: int, draw: random.Random) -> Submit:
    """A job of any kind."""
    n, steps = draw.randint(1, 4), draw.randint(1, 20)
    start = draw.randint(0, steps)
    return Submit(
        f"job{number}",
        "",
        draw.randint(0, 2**53 - 1),
        tuple(range(n)),
        tuple(draw.randint(0, 2) for _ in range(n)),
        draw.choice(SAMPLERS),
        steps,
        guidance=draw.choice([0.0, 1.5]),
        guided=(start, draw.randint(start, steps)),
        shown=tuple(sorted(draw.sample(range(steps + 1), draw.randint(0, steps)))),
        client=draw.choice("ab"),
        is_alone=draw.random() < 0.1,
    )


@pytest.mark.parametrize("when", ["late", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_made_has_the_bytes_of_the_plain_loop(
    seed: int, when: Literal["late", "random"]
) -> None:
    draw = random.Random(seed)
    desk = Desk(queue=FakeQueue(when), num_slots=12, depth=2, steps=5)
    engine, events, jobs = desk.engine, list[Any](), list[Submit]()
    gone: set[str] = set()
    for number in range(25):
        jobs.append(any_job(number, draw))
        engine.submit(jobs[-1])
        events += desk.step()
        name = draw.choice(jobs).id
        match draw.randint(0, 9):
            case 0:
                engine.cancel(name)
                gone.add(name)
            case 1 | 2:
                engine.pause(name, paused=draw.random() < 0.5)
    for job in jobs:
        engine.pause(job.id, paused=False)
    events += desk.drain()
    made = {(e.id, e.index): e.x_0 for e in events if isinstance(e, Finished)}
    expected = desk.images(jobs)
    assert all(expected[name] == image for name, image in made.items())
    assert {name for name, _ in expected.keys() - made.keys()} <= gone
    assert len(desk.board) == 0
