"""How long an engine takes, by what it measured."""

from app.pool.pace import backlog_seconds, full_batch, seconds_alone, seconds_together
from tests.app.pool.pacing import GPU, KEY, asked, idle
from tests.model_info import MODEL


def test_a_job_alone_takes_its_steps_by_the_batch_that_it_fills() -> None:
    assert seconds_alone(MODEL, asked(3), 3) == 10 * 0.01
    assert seconds_alone(MODEL, asked(8), 8) == 10 * 0.02
    assert seconds_alone(MODEL, asked(4, guidance=1.0), 4) == 10 * 0.02
    assert seconds_alone(MODEL, asked(80), 80) == 80 * 10 * 0.0025


def test_a_full_batch_has_fewer_samples_where_each_takes_two_rows() -> None:
    assert full_batch(idle(), asked(1)) == 8
    assert full_batch(idle(), asked(1, guidance=1.0)) == 4


def test_engines_together_have_the_sum_of_their_speeds() -> None:
    engines = [idle(), idle(GPU)]
    assert backlog_seconds(idle(rows=400)) == 1.0
    assert seconds_together({KEY: 32_400}, engines) == 1.0
    assert seconds_together({KEY: 1}, []) == 0.0, "nobody knows"
