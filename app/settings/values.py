"""What the settings' values have in common."""

from typing import Annotated

from pydantic import BeforeValidator, Field

Positive = Annotated[int, Field(ge=1)]
RowsOrAuto = Annotated[
    int | None, BeforeValidator(lambda value: None if value == "auto" else value)
]
"""A number; None where the engine is to choose, which is said as `auto`."""


class SettingError(ValueError):
    """A setting whose value is well formed, and with which the server still cannot start."""

    def __init__(self, name: str, value: object, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.value = value


def split(text: str) -> list[str]:
    """The parts between the commas, without spaces around them and without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]
