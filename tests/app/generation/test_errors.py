"""What the client is told of a request that gets no images."""

from app.generation.errors import AnswerTooLarge, InvalidField


def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed() -> None:
    error = InvalidField("steps", 2000, "it must be 1..1000")
    assert str(error) == "steps: it must be 1..1000"
    assert (error.name, error.value, error.reason) == ("steps", 2000, "it must be 1..1000")


def test_what_the_client_asked_wrongly_is_a_value_error() -> None:
    assert issubclass(InvalidField, ValueError) and issubclass(AnswerTooLarge, ValueError)
