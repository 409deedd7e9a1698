"""Which precision a network runs in, by what was asked for, the device and the card."""

import pytest
import torch

from diffusion import precision
from diffusion.model_card import ModelCard
from diffusion.precision import Chosen, choose_precision

CPU = torch.device("cpu")
LOSSLESS = ModelCard(precisions={"bfloat16": {"lossless": True}})
LOSSY = ModelCard(precisions={"bfloat16": {"lossless": False}})


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)


def test_what_is_asked_for_is_used_whatever_the_card_says() -> None:
    assert choose_precision("float32", LOSSLESS, CPU).precision == "float32"
    assert choose_precision("bfloat16", LOSSY, CPU).precision == "bfloat16"
    assert choose_precision("bfloat16", ModelCard(), CPU).reason == "bfloat16 was asked for"


@pytest.mark.usefixtures("has_bfloat16")
def test_auto_is_bfloat16_where_it_is_faster_and_measured_to_lose_nothing() -> None:
    assert choose_precision("auto", LOSSLESS, CPU).precision == "bfloat16"


@pytest.mark.usefixtures("has_bfloat16")
@pytest.mark.parametrize(
    ("card", "device", "reason"),
    [
        (ModelCard(), CPU, "ddpm evaluate --precisions measures it"),
        (LOSSY, CPU, "may lose quality"),
        (LOSSLESS, torch.device("meta"), "float32 on meta"),
    ],
)
def test_auto_is_float32_otherwise_and_says_why(
    card: ModelCard, device: torch.device, reason: str
) -> None:
    chosen = choose_precision("auto", card, device)
    assert chosen.precision == "float32" and reason in chosen.reason


def test_auto_is_float32_on_a_processor_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    chosen = choose_precision("auto", LOSSLESS, CPU)
    assert chosen.precision == "float32" and "no instructions" in chosen.reason


def test_where_bfloat16_proves_to_be_too_far_from_float32_the_reason_says_so() -> None:
    asked = Chosen("bfloat16", "bfloat16 was asked for")
    assert asked.ran("bfloat16") is asked
    ran = asked.ran("float32")
    assert ran.precision == "float32" and "too far off" in ran.reason
