"""What is imported becomes a network with these weights."""

import pytest
import torch

from diffusion.config import ProcessConfig
from diffusion.importing.project import Imported
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

CONFIG = UNetConfig(
    sample_size=8,
    block_out_channels=(8,),
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
    norm_num_groups=4,
)


def test_the_network_has_the_weights_without_a_copy() -> None:
    weights = UNet(CONFIG).state_dict()
    made = Imported(CONFIG, ProcessConfig(), weights).make()
    assert made.config == CONFIG and not made.training
    for name, parameter in made.named_parameters():
        assert parameter.data_ptr() == weights[name].data_ptr() and not parameter.requires_grad


def test_a_weight_too_few_is_a_fault_of_the_program() -> None:
    weights = UNet(CONFIG).state_dict()
    del weights["conv_in.bias"]
    with pytest.raises(RuntimeError, match="conv_in.bias"):
        Imported(CONFIG, ProcessConfig(), weights).make()
    assert torch.is_tensor(weights["conv_in.weight"])
