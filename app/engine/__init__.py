"""The engine: which chains advance, and how, one denoising step at a time.

scheduler decides, runner computes, machine turns steps into events; process puts that into a
process of its own. On the API's side, handle starts, feeds and restarts such a process, flight is a
job in it, and supervisor admits jobs and chooses among the engines.
"""
