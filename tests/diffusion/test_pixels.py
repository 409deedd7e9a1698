"""uint8 <-> [-1, 1], and grids."""

import numpy as np
import torch

from diffusion import pixels


def test_to_model_is_exactly_k_over_127_5_minus_1() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    expected = (np.arange(256, dtype=np.float64) / 127.5 - 1).astype(np.float32)
    np.testing.assert_allclose(pixels.to_model(every), expected, atol=1e-7)


def test_every_pixel_survives_the_way_there_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    back = pixels.to_uint8(pixels.to_model(every).numpy())
    np.testing.assert_array_equal(back[0, :, :, 0], every[0, 0])


def test_values_are_rounded_not_truncated_and_clipped_outside() -> None:
    x = np.array([0.99999, -0.9961, 1.7, -3.0, 0.0]).reshape(1, 1, 1, 5)
    assert pixels.to_uint8(x).flatten().tolist() == [255, 0, 255, 0, 128]


def test_a_grid_is_near_square_in_row_order_and_black_where_empty() -> None:
    images = np.stack([np.full((2, 3, 1), k, np.uint8) for k in range(1, 6)])
    grid = pixels.tile(images)
    assert grid.shape == (4, 9, 1)
    assert grid[::2, ::3, 0].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert pixels.tile(images, columns=5).shape == (2, 15, 1)


def test_pictures_are_grey_or_colour() -> None:
    assert pixels.picture(np.zeros((4, 6, 1), np.uint8)).mode == "L"
    colour = pixels.picture(np.zeros((4, 6, 3), np.uint8))
    assert (colour.mode, colour.size) == ("RGB", (6, 4))
