"""What a project whose checkpoints can be imported has to say for itself."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.checkpoint import WithoutInit
from diffusion.config import ProcessConfig
from diffusion.networks.config import NetworkConfig
from diffusion.networks.network import Network
from diffusion.networks.registry import make_network


@dataclass(frozen=True)
class Imported:
    """A checkpoint in our terms: the network, the process, and the weights by our names."""

    network: NetworkConfig
    process: ProcessConfig
    tensors: dict[str, Tensor]

    def make(self) -> Network:
        """Make the network with its weights; it takes no memory but theirs, which may still be the
        file's."""
        with torch.device("meta"), WithoutInit():
            network = make_network(self.network)
        network.load_state_dict(self.tensors, strict=True, assign=True)
        return network.eval().requires_grad_(False)


Read = Callable[[dict[str, Tensor], argparse.Namespace], Imported]
"""Takes the tensors of a file by their names there, and the command's flags, to our terms.

Raises ForeignError where the two do not fit each other, or our network cannot be that one, and
ConfigError for a value that no network may have.
"""


@dataclass(frozen=True)
class Project:
    """Another implementation of diffusion models, and how its checkpoints are read.

    Its flags are in `diffusion.importing.flags`, under the same name.
    """

    repository: str
    read: Read
