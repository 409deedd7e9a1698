"""The projects whose checkpoints `ddpm import` reads, by their names in the command."""

from diffusion.importing import edm, lucidrains, openai, pesser
from diffusion.importing.project import Project

PROJECTS = {
    "pytorch-diffusion": Project("https://github.com/pesser/pytorch_diffusion", pesser.read),
    "improved-diffusion": Project("https://github.com/openai/improved-diffusion", openai.read),
    "guided-diffusion": Project("https://github.com/openai/guided-diffusion", openai.read),
    "edm": Project("https://github.com/NVlabs/edm", edm.read),
    "denoising-diffusion-pytorch": Project(
        "https://github.com/lucidrains/denoising-diffusion-pytorch", lucidrains.read
    ),
}
