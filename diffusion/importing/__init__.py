"""Checkpoints of other projects, each read into our network: a project is a module."""
