"""What a client does about models: which it asks for, and what it makes of the answers."""

import json
from typing import Any

import pytest

from app.client import Forbidden, NotFound, Unavailable, model_flows
from app.client.effects import Answer
from app.client.patience import Patience
from tests.app.client.script import FULL, Run

MODEL = {
    "name": "tiny", "image_shape": [1, 8, 8], "num_timesteps": 50, "schedule": "linear",
    "alpha_bar": [1.0, 0.5], "variance": "fixed_small", "classes": [], "null_label": None,
    "parameters": 9, "sha256": "ab", "data": None, "command": None, "trained": {}, "quality": {},
    "runtime": "eager", "precision": "float32", "device": "cpu", "batch_invariant": True,
    "recommended": {}, "limits": {},
}  # fmt: skip
READY = {"name": "tiny", "default": True, "state": "ready", "detail": None, "model": MODEL}
LOADING = {**READY, "name": "b", "state": "loading", "detail": "measuring", "model": None}


def says(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json"}, json.dumps(body).encode())


def refuses(status: int, detail: str) -> Answer:
    headers = {"content-type": "application/problem+json"}
    return Answer(status, headers, json.dumps({"title": "No", "detail": detail}).encode())


def test_without_a_name_it_is_the_default_model() -> None:
    run = Run(model_flows.model(None, Patience(60)), [says(MODEL)])
    assert run.calls[0].path == "/model"
    assert run.emitted[0].name == "tiny"


def test_a_name_is_one_part_of_a_path() -> None:
    run = Run(model_flows.model("a/b?c", Patience(60)), [says(READY)])
    assert run.calls[0].path == "/models/a%2Fb%3Fc"


@pytest.mark.parametrize("name", ["", ".", "..", 3])
def test_what_names_no_model_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^name: .* is not allowed"):
        next(model_flows.load(name, None, Patience(60)))


def test_all_models_come_in_order_with_their_states() -> None:
    run = Run(model_flows.models(Patience(60)), [FULL, says({"models": [READY, LOADING]})])
    (found,) = run.emitted
    assert [(one.name, one.state, one.default) for one in found] == [
        ("tiny", "ready", True),
        ("b", "loading", True),
    ]
    assert found[1].model is None
    assert "ServedModel(b, loading: measuring)" in repr(found)
    assert run.slept == [7]


def test_a_model_of_which_nothing_is_known_yet_is_said_to_be_loading() -> None:
    run = Run(model_flows.model("b", Patience(60)), [says(LOADING)])
    assert isinstance(run.raised, Unavailable)
    assert run.raised.detail == "the model 'b' is loading: measuring"


def test_loading_names_the_checkpoint_only_if_there_is_one() -> None:
    for checkpoint, body in (("mnist", {"checkpoint": "mnist"}), (None, {})):
        run = Run(model_flows.load("b", checkpoint, Patience(60)), [says(LOADING, 202)])
        assert (run.calls[0].method, run.calls[0].path) == ("POST", "/models/b")
        assert run.calls[0].body == body
        assert run.emitted[0].state == "loading"


@pytest.mark.parametrize(("status", "kind"), [(403, Forbidden), (404, NotFound)])
def test_what_the_server_refuses_is_told_in_its_words(status: int, kind: type[Exception]) -> None:
    run = Run(model_flows.unload("b", Patience(60)), [refuses(status, "no model 'b'; it has tiny")])
    assert run.calls[0].method == "DELETE"
    assert isinstance(run.raised, kind)
    assert "no model 'b'; it has tiny" in str(run.raised)


def test_a_path_that_no_server_of_ours_has_is_another_program() -> None:
    run = Run(model_flows.models(Patience(60)), [refuses(404, "what?")])
    assert isinstance(run.raised, NotFound)
    assert "there is no ddpm server" in str(run.raised)
