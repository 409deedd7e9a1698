"""Noise: the published Philox vectors, N(0, I), and the same bytes in any batch."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from diffusion.noise import normal, philox

SHAPES = [(1, 28, 28), (3, 5, 7), (1, 1, 1), (2, 3, 1), (3, 32, 32)]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # Random123's kat_vectors, philox4x32 with 10 rounds
        ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers(counter: str, key: str, words: str) -> None:
    def read(text: str) -> torch.Tensor:
        return torch.tensor([int(word, 16) for word in text.split()])

    assert philox(read(counter), read(key)).tolist() == read(words).tolist()


def batch(
    seeds: list[int], indices: list[int], draws: list[int], shape: tuple[int, ...]
) -> torch.Tensor:
    return normal(torch.tensor(seeds), torch.tensor(indices), torch.tensor(draws), shape)


def test_the_numbers_are_standard_normal() -> None:
    z = batch([1] * 50, list(range(50)), [0] * 50, (1, 64, 64)).flatten().double().numpy()
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / len(z))
    assert abs(stats.skew(z)) < 4 * np.sqrt(6 / len(z))
    assert abs(stats.kurtosis(z)) < 4 * np.sqrt(24 / len(z))
    assert stats.kstest(z, "norm").pvalue > 0.001


@pytest.mark.parametrize("what", ["seeds", "indices", "draws", "pixels"])
def test_neighbouring_streams_are_uncorrelated(what: str) -> None:
    varied, fixed = list(range(400)), [7] * 400
    arguments = {name: varied if name == what else fixed for name in ("seeds", "indices", "draws")}
    z = batch(arguments["seeds"], arguments["indices"], arguments["draws"], (1, 16, 16))
    flat = z.flatten(1).double()
    if what == "pixels":
        flat = batch(varied, fixed, fixed, (1, 16, 16)).flatten(1).double().T
    correlation = (flat[:-1] * flat[1:]).mean().item()
    assert abs(correlation) < 4 / np.sqrt(flat[1:].numel())


def test_equal_to_box_muller_in_float64() -> None:
    """Recomputed with numpy's log, sqrt, cos and sin from the words."""
    seed, index, draw = 2**40 + 12345, 2**35 + 7, 9
    words = philox(
        torch.stack(
            [
                torch.arange(4),
                torch.full((4,), draw),
                torch.full((4,), index % 2**32),
                torch.full((4,), index // 2**32),
            ]
        ),
        torch.tensor([[seed % 2**32], [seed // 2**32]]),
    ).numpy()
    expected = np.empty((4, 4))
    for pair in (0, 1):
        u = (words[2 * pair].astype(np.float64) + 0.5) / 2**32
        angle = 2 * np.pi * words[2 * pair + 1] / 2**32
        expected[:, 2 * pair] = np.sqrt(-2 * np.log(u)) * np.cos(angle)
        expected[:, 2 * pair + 1] = np.sqrt(-2 * np.log(u)) * np.sin(angle)
    made = batch([seed], [index], [draw], (1, 4, 4)).flatten().numpy()
    flat = sorted(expected.flatten())
    np.testing.assert_allclose(sorted(made), flat, atol=1e-6)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_has_the_same_bytes_in_every_batch(shape: tuple[int, ...]) -> None:
    rows = list(product((0, 2**53 - 1, 5), (0, 1, 2**52), (0, 1, 999, 7)))[:33]
    alone = [batch([s], [i], [d], shape)[0] for s, i, d in rows]
    for size in range(1, len(rows) + 1):
        for start in {0, len(rows) - size}:
            part = rows[start : start + size]
            made = batch([r[0] for r in part], [r[1] for r in part], [r[2] for r in part], shape)
            for row, z in zip(range(start, start + size), made, strict=True):
                assert torch.equal(z, alone[row]), f"row {row} in a batch of {size}"


def test_the_numbers_of_a_seed_never_change() -> None:
    """Images that users keep by their seed depend on these."""
    z = batch([42], [3], [1], (1, 2, 3)).flatten().tolist()
    golden = [-0.037165, 0.288259, 0.005084, -0.70127, -0.772354, -0.050035]
    np.testing.assert_allclose(z, golden, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with a GPU")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_gpu_gives_the_same_bytes(shape: tuple[int, ...]) -> None:
    seeds, indices, draws = (torch.tensor(x) for x in ([1, 2**53 - 1], [0, 2**52], [0, 999]))
    on_gpu = normal(seeds.cuda(), indices.cuda(), draws.cuda(), shape)
    assert torch.equal(on_gpu.cpu(), normal(seeds, indices, draws, shape))
