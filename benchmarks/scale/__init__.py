"""Many engines in simulated time: the server's own scheduler and pool, with measured step times
instead of a network. `python -m benchmarks.scale` runs it."""
