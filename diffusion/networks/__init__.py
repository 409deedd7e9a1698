"""The networks that a checkpoint may hold: what all have in common, and which there are."""
