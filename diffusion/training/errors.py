"""What can stop a training run; without PyTorch, so that a command line can name it at once."""


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why. The last saved state is whole."""
