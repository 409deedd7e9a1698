"""What the commands of `diffusion.cli` do: a module for each, imported only when it is run."""
