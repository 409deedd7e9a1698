"""The engine process: which images advance, and how, one denoising step at a time. With torch,
without HTTP.

scheduler chooses, by the rules at its top (line: whose turn it is; batch: who shares a step);
runner computes, or slots on a GPU, each of them a board; engine turns steps into events; recovery
says what becomes of a step that failed; lane_threads drives it all; loader brings networks and
takes them away (loading: how one is made ready; warmup, measured: its batch sizes); __main__ is the
process. Read them in this order.
"""
