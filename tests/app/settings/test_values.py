"""What settings have in common."""

from app.settings.values import SettingError, split


def test_parts_are_between_commas() -> None:
    assert split(" a, b,, c ,") == ["a", "b", "c"]
    assert split("") == []


def test_a_setting_that_cannot_be_used_is_named_with_its_value() -> None:
    error = SettingError("port", 80, "taken")
    assert (error.name, error.value, str(error)) == ("port", 80, "taken")
