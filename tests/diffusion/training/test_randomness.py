"""Random numbers by seed, stream and index; and those of runs begun before streams had names."""

import pytest
import torch

from diffusion.training.randomness import Stream, generator_at


def drawn(seed: int, stream: Stream, index: int) -> list[int]:
    generator = generator_at(seed, stream, index)
    return torch.randint(1 << 62, (4,), generator=generator).tolist()


def test_the_same_seed_stream_and_index_give_the_same_numbers() -> None:
    assert drawn(3, Stream.ORDER, 5) == drawn(3, Stream.ORDER, 5)


def test_another_seed_stream_or_index_gives_others() -> None:
    all_drawn = [
        drawn(seed, stream, index) for seed in (0, 7) for stream in Stream for index in (0, 1, 2)
    ]
    assert len({tuple(numbers) for numbers in all_drawn}) == len(all_drawn)


@pytest.mark.parametrize(("stream", "added"), [("BATCH", 0), ("ORDER", 1), ("DROPOUT", 2)])
def test_a_run_of_an_older_version_goes_on_with_its_numbers(stream: str, added: int) -> None:
    before = torch.Generator().manual_seed(((41 + added) * 0x9E3779B97F4A7C15 + 1000) % 2**63)
    now = generator_at(41, Stream[stream], 1000)
    assert now.initial_seed() == before.initial_seed()
