"""/model and /models: what is served, and what it is."""

from typing import Any

import pytest
import torch

from diffusion.checkpoint import open_checkpoint
from diffusion.precision import choose_precision
from diffusion.tuned import step_counts
from tests.app.server import Server


@pytest.mark.slow
def test_model_says_what_is_served_and_how(server: Server) -> None:
    model = server.client.get("/model").json()
    checkpoint = open_checkpoint("mnist")
    assert model["name"] == "mnist"
    assert model["sha256"] == checkpoint.sha256
    assert model["image_shape"] == [1, 28, 28]
    assert model["num_timesteps"] == 1000
    assert model["classes"] == list("0123456789")
    assert (model["runtime"], model["device"]) == ("openvino", "cpu")
    chosen = choose_precision("auto", checkpoint.card, torch.device("cpu"))
    assert (model["precision"], model["precision_reason"]) == chosen
    assert model["batch_invariant"] is True
    assert model["limits"]["max_samples"] == 64
    assert len(model["alpha_bar"]) == 1001
    assert model["alpha_bar"][0] == 1 and model["alpha_bar"][1000] == model["alpha_bar_T"]
    assert model["trained"] and model["quality"] and model["command"]
    assert model["recommended"] == checkpoint.card.recommended
    assert model["tuned"] == step_counts(checkpoint.card.tuned)


def test_models_lists_them_with_what_model_says(server: Server) -> None:
    found: dict[str, Any] = server.client.get("/models").json()
    (entry,) = found["models"]
    assert (entry["name"], entry["default"], entry["state"]) == ("mnist", True, "ready")
    assert entry["model"] == server.client.get("/model").json()
    assert entry["detail"] is entry["replacement"] is None
    assert entry["memory_bytes"] > 0 and entry["load_seconds"] >= 0
    assert "cifar10" in found["loadable"] and "mnist" not in found["loadable"]
    one = server.client.get("/models/mnist").json()
    assert {**one, "used_at": None} == {**entry, "used_at": None}


def test_a_model_that_there_is_not_is_named_with_those_that_there_are(server: Server) -> None:
    answer = server.client.get("/models/other")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no model 'other': this server has mnist"
    refused = server.post("/sample", {"model": "other"})
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"field": "model", "value": "other", "message": "this server has mnist"}
    ]


def test_without_an_admin_key_nothing_is_loaded_or_unloaded(server: Server) -> None:
    for answer in (
        server.client.post("/models/cifar10"),
        server.client.post("/models/mnist", json={"checkpoint": "cifar10"}),
        server.client.delete("/models/mnist"),
    ):
        assert answer.status_code == 403
        assert "`ddpm key NAME --admin` makes one" in answer.json()["detail"]
    assert server.client.get("/models/mnist").json()["state"] == "ready"
