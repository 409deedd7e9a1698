"""What can stop a training run; without PyTorch, so that a command line can name it at once."""


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why. The last saved state is whole."""


class Interrupted(BaseException):
    """A signal, `number`, ended a run after its state was saved; the message says how to go on.

    It is empty in all workers but the first. As KeyboardInterrupt, it is no failure that an
    `except Exception` may take care of.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number
