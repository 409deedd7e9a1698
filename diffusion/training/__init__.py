"""Algorithm 1: what a step draws, the loss, the optimiser's loop, and several workers."""
