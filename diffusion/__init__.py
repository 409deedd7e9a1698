"""Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020): the science, without HTTP.

Read in the order process, samplers, training. This file imports nothing, so that a program
needing only pixels or timesteps does not load torch.
"""

__version__ = "0.1.0"
