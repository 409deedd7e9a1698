"""The error with which a checkpoint is refused is that of its source: a caller catches one."""

from diffusion.checkpoint.errors import CheckpointError
from diffusion.cli import USER_ERRORS
from diffusion.sources import errors


def test_a_source_and_a_checkpoint_are_refused_by_one_error_which_a_user_can_mend() -> None:
    assert CheckpointError is errors.CheckpointError
    assert issubclass(CheckpointError, USER_ERRORS)
