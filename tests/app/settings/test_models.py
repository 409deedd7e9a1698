"""Which models are served, and what they are called."""

import pytest
from pydantic import ValidationError

from app.flags import read_settings
from app.settings import Settings
from app.settings.models import MAX_MODELS, name_and_checkpoint


@pytest.mark.parametrize(
    ("flags", "models"),
    [
        ([], {"mnist": "mnist"}),
        (["--checkpoint=mnist,cifar10"], {"mnist": "mnist", "cifar10": "cifar10"}),
        (["--checkpoint=b", "--checkpoint", "a"], {"b": "b", "a": "a"}),
        (["--checkpoint= digits=mnist , runs/mine/"], {"digits": "mnist", "mine": "runs/mine/"}),
        (["--checkpoint=google/ddpm@main"], {"ddpm": "google/ddpm@main"}),
        (["--checkpoint=./a=b/c"], {"c": "./a=b/c"}),
    ],
)
def test_the_flag_has_several_in_their_order(flags: list[str], models: dict[str, str]) -> None:
    found = read_settings(flags).models
    assert list(found.items()) == list(models.items())


def test_the_variable_has_them_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_CHECKPOINT", "mnist,other=cifar10")
    assert Settings().models == {"mnist": "mnist", "other": "cifar10"}
    assert read_settings(["--checkpoint=cifar10"]).models == {"cifar10": "cifar10"}


@pytest.mark.parametrize(
    ("checkpoint", "reason"),
    [
        ("", "name at least one checkpoint"),
        ("a/x,b/x", "'a/x' and 'b/x' are both called 'x': give one a name of its own"),
        ("mnist,mnist", "are both called 'mnist'"),
        ("my model", "'my model' would be called 'my model'; a model's name has 1..64 letters"),
        (",".join(map(str, range(MAX_MODELS + 1))), "33 checkpoints; a server has at most 32"),
    ],
)
def test_what_cannot_be_named_or_is_named_twice_is_refused(checkpoint: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        read_settings([f"--checkpoint={checkpoint}"])


def test_a_folder_has_its_own_name() -> None:
    assert name_and_checkpoint("/runs/mine") == ("mine", "/runs/mine")
    name, _ = name_and_checkpoint(".")
    assert name not in ("", ".")
