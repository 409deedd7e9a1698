"""The error of imports."""

from diffusion.cli import USER_ERRORS
from diffusion.importing.errors import ForeignError


def test_a_file_of_another_project_is_something_that_a_user_can_mend() -> None:
    assert issubclass(ForeignError, USER_ERRORS)
