"""The compiled network computes what the network does."""

from pathlib import Path

import pytest
import torch

from diffusion.checkpoint import open_checkpoint
from diffusion.compiled import CompiledModel, examples, parts_of
from tests.tiny import save_tiny


@pytest.mark.parametrize("num_classes", [None, 3])
def test_batches_of_any_size_give_what_the_network_gives(
    num_classes: int | None, threads: int, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "tiny", num_classes=num_classes, channels=3)
    model = open_checkpoint(folder).eps_model()
    compiled = CompiledModel(model, threads)
    rows = examples(model, 10)
    expected = model(*rows)
    for size in (1, 3, 8, 10):
        first = [column[:size] for column in rows]
        made = compiled(*first)
        torch.testing.assert_close(made, expected[:size], atol=1e-5, rtol=1e-5)
        assert torch.equal(compiled(*first), made)


@pytest.mark.parametrize(
    ("size", "threads", "parts"),
    [(1, 2, 1), (2, 2, 2), (8, 2, 2), (8, 16, 8), (8, 6, 4), (12, 8, 4), (33, 2, 1), (8, 1, 1)],
)
def test_a_batch_is_split_evenly_among_the_threads(size: int, threads: int, parts: int) -> None:
    assert parts_of(size, threads) == parts
