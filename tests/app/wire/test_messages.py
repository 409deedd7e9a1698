"""What the messages between the API process and the engine tell."""

import dataclasses

from app.wire.messages import Counts, Starting, Submit


def test_the_cost_of_a_job_is_known_before_it_runs() -> None:
    assert Submit("a", "m#1", 1, (0, 1), (1, 1), "ddim", 50, guidance=1.0).cost == 2 * 50 * 2
    assert Submit("a", "m#1", 1, (0, 1), None, "ddpm", 1000).cost == 2000
    some = Submit("a", "m#1", 1, (0, 1), (1, 1), "ddim", 50, guidance=1.0, guided=(10, 30))
    assert (some.chain_rows, some.cost) == (50 + 20, 2 * 70)


def test_a_part_of_a_job_has_what_belongs_to_its_samples() -> None:
    whole = Submit("a", "m#1", 1, (4, 5, 6), (0, 1, 2), "ddim", 10, client="x")
    assert whole.only((0, 2)) == dataclasses.replace(whole, indices=(4, 6), labels=(0, 2))
    assert dataclasses.replace(whole, labels=None).only((1,)).labels is None


def test_what_an_engine_does_to_load_a_model_is_told_in_words() -> None:
    loading = Starting("m#1", "loading the checkpoint mnist")
    assert str(loading) == "loading the checkpoint mnist"
    measuring = Starting("m#1", "measuring its speed, round", 3, 8)
    assert str(measuring) == "measuring its speed, round 3 of 8"


def test_counts_of_one_model_and_size_add_up() -> None:
    first, second = Counts("m#1", 8, 3, 20, 0.5, 1), Counts("m#1", 8, 1, 8, 0.25)
    assert first + second == Counts("m#1", 8, 4, 28, 0.75, 1)
