"""Where the project's models are, and where downloads and converted networks are kept."""

from pathlib import Path

import pytest

from diffusion.folders import MODELS, cache_folder, check_cache


def test_the_models_that_come_with_the_project_are_there() -> None:
    assert {"mnist", "mnist-linear", "cifar10"} <= {path.name for path in MODELS.iterdir()}


def test_it_is_in_the_folder_that_the_user_has_chosen_for_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/chosen")
    assert cache_folder() == Path("/chosen/ddpm")


@pytest.mark.parametrize("chosen", [None, ""], ids=["not set", "empty"])
def test_without_a_choice_it_is_in_the_users_own_folder(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if chosen is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    assert cache_folder() == Path("/home/somebody/.cache/ddpm")


def test_a_name_that_can_be_no_folder_is_refused(tmp_path: Path) -> None:
    assert check_cache("") == "" and check_cache(str(tmp_path / "new")) == str(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is not a folder"):
        check_cache(str(tmp_path / "file"))
    with pytest.raises(ValueError, match="cannot be a folder: File name too long"):
        check_cache("a" * 300)
