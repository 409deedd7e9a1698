"""What the configurations of imported networks share."""

import pytest

from diffusion.fields import ConfigError
from diffusion.networks.image_config import ImageConfig, check_widths


@pytest.mark.parametrize(("sample_size", "expected"), [(8, (8, 8)), ((4, 12), (4, 12))])
def test_one_number_is_the_side_of_a_square(
    sample_size: int | tuple[int, int], expected: tuple[int, int]
) -> None:
    config = ImageConfig(sample_size, 3, 6)
    assert config.image_size == expected
    assert config.image_shape == (3, *expected)


def test_it_is_unconditional_and_can_be_told_any_timestep_unless_it_says_otherwise() -> None:
    config = ImageConfig(8, 1, 1)
    assert (config.num_class_embeds, config.max_timesteps, config.min_timestep) == (None, None, 0)


@pytest.mark.parametrize(
    ("size", "levels", "allowed"),
    [(12, 3, None), (12, 4, "a multiple of 8"), ((8, 12), 4, "a multiple of 8"), (0, 1, "1..16384"),
     (16_385, 1, "1..16384"), (1, 1, None)],
)  # fmt: skip
def test_each_level_halves_the_image(
    size: int | tuple[int, int], levels: int, allowed: str | None
) -> None:
    config = ImageConfig(size, 3, 3)
    if allowed is None:
        config.check_images(levels)
    else:
        with pytest.raises(ConfigError, match=f"^sample_size: .*{allowed}"):
            config.check_images(levels)


@pytest.mark.parametrize("field", ["in_channels", "out_channels"])
@pytest.mark.parametrize("count", [0, -1, 16_385])
def test_channels_have_bounds(field: str, count: int) -> None:
    channels = {"in_channels": 3, "out_channels": 3, field: count}
    with pytest.raises(ConfigError, match=f"^{field}: {count} is not allowed"):
        ImageConfig(8, **channels).check_images(1)


@pytest.mark.parametrize("widths", [(), (1,) * 4, (8, 0), (16_385,)])
def test_widths_have_a_number_and_bounds(widths: tuple[int, ...]) -> None:
    check_widths("widths", (1, 16_384), 3)
    with pytest.raises(ConfigError, match="^widths: "):
        check_widths("widths", widths, 3)
