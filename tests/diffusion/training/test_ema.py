"""The running average of the weights."""

import pytest
import torch

from diffusion.training.ema import EMA


def test_the_average_warms_up_and_then_decays_as_told() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    ema = EMA(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(1.0)
    expected = 0.0
    for updates in range(20):
        ema.update(model, updates)
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay)
        assert ema.model.weight.item() == pytest.approx(expected, rel=1e-5)


def test_the_average_is_a_model_of_its_own_that_is_not_trained() -> None:
    linear = torch.nn.Linear(2, 2)
    model = torch.nn.Sequential(linear, torch.nn.Dropout(0.5))
    ema = EMA(model, decay=0.5)
    assert not ema.model.training and model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    with torch.no_grad():
        linear.weight.add_(1.0)
    assert not torch.equal(ema.model.state_dict()["0.weight"], linear.weight)
