"""The projects whose checkpoints `ddpm import` reads, by their names in the command."""

from diffusion.importing import pesser
from diffusion.importing.project import Project

PROJECTS = {
    "pytorch-diffusion": Project("https://github.com/pesser/pytorch_diffusion", pesser.read),
}
