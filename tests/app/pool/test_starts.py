"""When an engine's process is started again, and when the server ends instead."""

import pytest

from app.pool.starts import Starts
from app.tasks import Fatal


def test_pauses_grow_with_starts_that_never_got_ready_and_the_last_repeats() -> None:
    starts, pauses = Starts(), []
    for _ in range(6):
        pauses.append(starts.pause)
        starts.note(became_ready=False)
    assert pauses == [0.0, 1.0, 2.0, 5.0, 10.0, 10.0]
    starts.note(became_ready=True)
    assert starts.pause == 0.0


def test_what_goes_wrong_before_a_model_was_ever_loaded_ends_the_server() -> None:
    starts = Starts()
    with pytest.raises(Fatal, match="^no memory$"):
        starts.check("no memory")
    starts.has_loaded = True
    starts.check("no memory")


def test_a_first_process_that_dies_by_itself_ends_the_server_and_a_third_killed_one() -> None:
    starts = Starts()
    with pytest.raises(Fatal, match="died while it was starting"):
        starts.check_death(was_killed=False)
    for _ in range(2):
        starts.check_death(was_killed=True)
        starts.note(became_ready=False)
    with pytest.raises(Fatal, match="killed 3 times"):
        starts.check_death(was_killed=True)


def test_words_that_cannot_be_read_end_the_server_unless_they_could_be_before() -> None:
    starts = Starts()
    with pytest.raises(Fatal, match="^garbage: was the software replaced"):
        starts.check_words("garbage", became_ready=True)
    starts.has_loaded = True
    for _ in range(2):
        starts.check_words("garbage", became_ready=False)
        starts.note(became_ready=False)
    starts.check_words("garbage", became_ready=True)
    with pytest.raises(Fatal):
        starts.check_words("garbage", became_ready=False)
