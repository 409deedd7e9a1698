"""What can stop a training run is known to the command line before it loads PyTorch."""

import subprocess
import sys

from diffusion.cli import USER_ERRORS
from diffusion.training.errors import Interrupted, TrainingError


def test_it_is_told_to_the_user_without_a_traceback() -> None:
    assert issubclass(TrainingError, USER_ERRORS)


def test_it_can_be_named_without_pytorch() -> None:
    check = "import sys, diffusion.training.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_an_interruption_is_no_error_and_has_its_signal() -> None:
    assert not issubclass(Interrupted, USER_ERRORS)
    assert (Interrupted(15, "stopped").number, str(Interrupted(15, "stopped"))) == (15, "stopped")
