"""The blocks of NCSN++, each against the one of diffusers with its weights."""

import pytest
import torch

from tests.diffusion.unet_pair import TIME_DIM, Pair, close, drawn, pair


@pytest.fixture(scope="module", params=["Skip", "AttnSkip"])
def networks(request: pytest.FixtureRequest) -> Pair:
    """Two levels of blocks that attend, or do not."""
    return pair(
        block_out_channels=(32, 64),
        down_block_types=(f"{request.param}DownBlock2D",) * 2,
        up_block_types=(f"{request.param}UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=None,
    )


@torch.no_grad()
def test_a_level_down_halves_the_image_too_and_adds_it(networks: Pair) -> None:
    x, image, temb = drawn(2, 32, 8, 12), drawn(2, 3, 8, 12, seed=2), drawn(2, TIME_DIM, seed=3)
    on, halved, skips = networks.ours.down_blocks[0](x, image, temb)
    expected, outputs, expected_image = networks.theirs.down_blocks[0](x, temb, image)
    assert close(on, expected) and close(halved, expected_image)
    assert halved.shape == (2, 3, 4, 6)
    assert all(close(skip, output) for skip, output in zip(skips, outputs, strict=True))
    other, _, _ = networks.ours.down_blocks[0](x, -image, temb)
    assert not close(other, on)


@torch.no_grad()
def test_the_last_level_down_leaves_sizes_and_the_image_as_they_are(networks: Pair) -> None:
    x, image, temb = drawn(2, 32, 4, 6), drawn(2, 3, 4, 6, seed=2), drawn(2, TIME_DIM, seed=3)
    on, passed, skips = networks.ours.down_blocks[1](x, image, temb)
    expected, outputs, _ = networks.theirs.down_blocks[1](x, temb, image)
    assert close(on, expected) and passed is image
    assert len(skips) == len(outputs) == 1


@torch.no_grad()
@pytest.mark.parametrize("has_picture", [False, True])
def test_a_level_up_adds_its_picture_to_that_of_the_levels_below(
    has_picture: bool, networks: Pair
) -> None:
    x, temb = drawn(2, 64, 4, 6), drawn(2, TIME_DIM, seed=3)
    skips = [drawn(2, 32, 4, 6, seed=4), drawn(2, 64, 4, 6, seed=5)]
    below = drawn(2, 3, 2, 3, seed=6) if has_picture else None
    given = list(skips)
    made, picture = networks.ours.up_blocks[0](x, below, given, temb)
    expected, expected_picture = networks.theirs.up_blocks[0](x, tuple(skips), temb, below)
    assert close(made, expected) and not given
    assert made.shape[2:] == (8, 12)
    assert picture.shape == (2, 3, 4, 6) and close(picture, expected_picture)


@torch.no_grad()
def test_the_last_level_up_makes_no_picture_of_its_own(networks: Pair) -> None:
    x, temb = drawn(2, 64, 8, 12), drawn(2, TIME_DIM, seed=3)
    skips = [drawn(2, 32, 8, 12, seed=4), drawn(2, 32, 8, 12, seed=5)]
    below = drawn(2, 3, 4, 6, seed=6)
    made, picture = networks.ours.up_blocks[1](x, below, list(skips), temb)
    expected, expected_picture = networks.theirs.up_blocks[1](x, tuple(skips), temb, below)
    assert close(made, expected) and made.shape == (2, 32, 8, 12)
    assert close(picture, expected_picture), "that of the level below, of twice the size"
