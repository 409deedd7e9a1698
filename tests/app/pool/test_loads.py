"""What an engine's process loads next, and what is done when it dies of that."""

import dataclasses

from app.pool.loads import TRIES, Loads
from app.wire.messages import Load, Loaded, Unload
from app.wire.options import AUTO
from tests.model_info import MODEL


def loads(*models: str) -> Loads:
    made = Loads()
    for model in models:
        made.want(Load(model, "folder", "name"))
    return made


def take(made: Loads, needed: tuple[str, ...] = (), running: tuple[str, ...] = ()) -> str | None:
    """Begin the next load."""
    loads = [order for order in made.orders(needed, running) if isinstance(order, Load)]
    return loads[0].model if loads else None


def accept(made: Loads, model: str) -> str | None:
    return made.accept(Loaded(model, MODEL, 1.0, 1000))


def test_models_are_loaded_one_after_another_in_their_order_first_what_jobs_need() -> None:
    made = loads("a", "b", "c")
    assert take(made, needed=("b",)) == "b"
    assert take(made) is None, "one at a time"
    accept(made, "b")
    assert take(made) == "a"
    accept(made, "a")
    assert take(made) == "c"
    accept(made, "c")
    assert take(made) is None
    assert made.loaded == {"a", "b", "c"}


def test_what_is_wanted_no_more_is_to_be_unloaded_even_if_it_is_still_being_loaded() -> None:
    made = loads("a", "b")
    take(made)
    made.forget("a")
    accept(made, "a")
    unload, load = made.orders((), ())
    assert unload == Unload("a")
    assert isinstance(load, Load) and load.model == "b"
    assert made.loaded == set()


def test_the_next_process_loads_all_of_it_again() -> None:
    made = loads("a", "b")
    accept(made, "a")
    accept(made, "b")
    assert made.die(()) is None
    assert (made.loaded, take(made)) == (set(), "a")


def test_the_largest_batch_that_an_engine_has_chosen_stays_the_same() -> None:
    made = loads("a")
    assert made.wanted["a"].max_batch == AUTO
    accept(made, "a")
    assert made.wanted["a"].max_batch == made.max_batch("a") == MODEL.batch_sizes[-1]
    made.limit("a", 3)
    made.forget("a")
    made.want(Load("a", "folder", "name"))
    assert made.wanted["a"].max_batch == 3


def test_what_was_said_first_must_be_the_same_in_the_next_process() -> None:
    made = loads("a")
    assert accept(made, "a") is None
    made.die(())
    other = dataclasses.replace(MODEL, precision="bfloat16")
    assert made.accept(Loaded("a", other, 1.0, 1000)) == "the precision has changed"


def test_a_load_at_which_a_process_died_waits_for_the_jobs_that_ran_beside_it() -> None:
    made = loads("a", "b")
    accept(made, "a")
    take(made)
    assert made.die(("job",)) is None
    assert take(made, needed=("b",), running=("job",)) == "a", "what is not suspected comes first"
    accept(made, "a")
    assert take(made, running=("job",)) is None
    assert take(made, running=("another",)) == "b"
    accept(made, "b")
    made.die(())
    assert take(made, needed=("b",)) == "b", "it is not suspected any more"


def test_a_load_at_which_processes_die_again_and_again_is_given_up() -> None:
    made = loads("a", "b")
    accept(made, "a")
    for _ in range(TRIES - 1):
        made.current = "b"
        assert made.die(()) is None
    made.current = "b"
    assert made.die(()) == "b"


def test_the_only_model_is_tried_for_ever_once_it_has_run() -> None:
    made = loads("a")
    accept(made, "a")
    for _ in range(2 * TRIES):
        made.current = "a"
        assert made.die(()) is None
