"""Networks by name: the shapes of U-Net that a training configuration can ask for as a preset.

    [unet]
    preset = "small"
    sample_size = 28       # what depends on the data stands beside it,
    block_out_channels = [48, 96, 96]   # and any field may differ from the preset's

Plain data, without PyTorch. What depends on the images (`sample_size`, channels, classes) is not
part of a preset.
"""

from typing import Any

PAPER_CODE: dict[str, Any] = {
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
"""What the paper's code does otherwise than diffusers."""

PRESETS: dict[str, dict[str, Any]] = {
    # 1.1 million parameters, for images of about 28x28: configs/mnist.toml
    "small": {
        "block_out_channels": [32, 64, 64],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
        "attention_head_dim": 8,
        "norm_num_groups": 8,
        **PAPER_CODE,
    },
    # 6.5 million, for small pictures in colour: configs/cifar10-conditional.toml
    "medium": {
        "block_out_channels": [64, 128, 128],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": 64,
        "norm_num_groups": 32,
        **PAPER_CODE,
    },
    # 35.7 million, the paper's network for CIFAR-10 (appendix B): configs/cifar10.toml
    "paper": {
        "block_out_channels": [128, 256, 256, 256],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": 256,  # all channels: a single head
        "norm_num_groups": 32,
        "dropout": 0.1,
        **PAPER_CODE,
    },
}
"""Fields of `UNetConfig` by the preset's name, smallest network first; TOML types."""
