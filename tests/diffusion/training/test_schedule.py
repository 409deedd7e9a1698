"""How long a run is, which only a user changes, and its learning rate."""

import dataclasses

import pytest

from diffusion.config import Config, TrainingConfig
from diffusion.fields import ConfigError
from diffusion.training.errors import TrainingError
from diffusion.training.schedule import Reached, learning_rate, settle_length

CONFIG = Config(training=TrainingConfig(num_steps=100, warmup_steps=0, learning_rate=1.0))


def cosine(config: Config) -> Config:
    training = dataclasses.replace(config.training, decay="cosine")
    return dataclasses.replace(config, training=training)


def settled(config: Config, reached: Reached | None, asked: int | None) -> tuple[int, str | None]:
    changed, note = settle_length(config, reached, asked)
    steps = changed.training.num_steps
    assert changed == dataclasses.replace(
        config, training=dataclasses.replace(config.training, num_steps=steps)
    ), "nothing else changes"
    return steps, note


def test_the_learning_rate_warms_up_then_stays_or_falls_as_a_cosine() -> None:
    config = TrainingConfig(num_steps=100, warmup_steps=10, learning_rate=1.0)
    assert [learning_rate(config, step) for step in (0, 4, 9, 50, 99)] == [0.1, 0.5, 1, 1, 1]
    falling = dataclasses.replace(config, decay="cosine")
    assert learning_rate(falling, 50) == pytest.approx(0.5)
    assert learning_rate(falling, 99) < 0.001


def test_a_new_run_has_the_configurations_steps_or_those_asked_for() -> None:
    assert settled(CONFIG, None, None) == (100, None)
    assert settled(CONFIG, None, 30) == (30, None)
    with pytest.raises(ConfigError, match="num_steps: 0 is not allowed; it must be at least 1"):
        settle_length(CONFIG, None, 0)


@pytest.mark.parametrize("own", [70, 150])
def test_a_run_keeps_the_steps_that_it_was_given(own: int) -> None:
    steps, note = settled(CONFIG, Reached(step=60, num_steps=own), None)
    assert steps == own
    assert note == (
        f"the run keeps its {own} steps; the configuration says 100: --num-steps 100 would change "
        "it"
    )
    assert settled(CONFIG, Reached(60, 100), None) == (100, None)


def test_steps_that_are_behind_a_run_are_not_offered() -> None:
    steps, note = settled(CONFIG, Reached(120, 150), None)
    assert (steps, note) == (150, "the run keeps its 150 steps; the configuration says 100")


@pytest.mark.parametrize(("step", "asked"), [(100, 200), (60, 80), (60, 60)])
def test_a_run_can_be_made_longer_and_shorter(step: int, asked: int) -> None:
    steps, note = settled(CONFIG, Reached(step, 100), asked)
    assert steps == asked
    assert note == (
        f"{asked} steps instead of 100; the learning rate does not depend on their number"
    )


def test_it_is_said_what_becomes_of_the_learning_rate() -> None:
    _, note = settled(cosine(CONFIG), Reached(100, 100), 200)
    assert note == (
        "200 steps instead of 100; the cosine of the learning rate now ends at step 200, so at "
        "step 100 it goes from 0 to 0.5"
    )


def test_asking_again_for_the_same_steps_changes_nothing() -> None:
    assert settled(CONFIG, Reached(60, 200), 200) == (200, None)


def test_a_run_does_not_become_shorter_than_it_is() -> None:
    with pytest.raises(TrainingError, match="--num-steps: 59 .* has reached step 60 already"):
        settle_length(CONFIG, Reached(60, 100), 59)
