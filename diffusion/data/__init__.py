"""Data sets: by name, downloaded once, or from files of one's own."""
