"""Checkpoints of other projects, of networks that are written afresh here."""
