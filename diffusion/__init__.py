"""Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020): the science, without HTTP.

To read it, begin with process, then samplers, then training. Imports go one way:

    core <- {data, openvino} <- {training, sampling} <- evaluation <- commands <- cli

where core is the other modules of this folder. This file imports nothing, so that a program that
needs only pixels or timesteps does not load PyTorch.
"""

__version__ = "0.1.0"
