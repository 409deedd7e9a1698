"""What can go wrong with a file of another project. Imports no torch."""


class ForeignError(ValueError):
    """A file cannot be imported; the message names the file, tensor or flag, and the reason."""
