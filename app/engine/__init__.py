"""The engine: which chains advance, and how, one denoising step at a time.

scheduler decides, runner computes, machine turns steps into events; process puts that into a
process of its own, which supervisor (on the API's side) starts, feeds and restarts.
"""
