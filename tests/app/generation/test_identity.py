"""Equal answers have the same identity, and others have not."""

import dataclasses
from typing import Any

import pytest

from app.generation.identity import identity
from app.generation.plan import Envelope, plan
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.generation.starts import Begun
from app.settings import Settings
from app.wire import starts as wire
from app.wire.model_info import ModelInfo
from tests.model_info import MODEL

JSON = "application/json"


def named(
    model: ModelInfo = MODEL, media_type: str = JSON, made_by: str = "me", **fields: Any
) -> str:
    request = SampleRequest.model_validate({"seed": 1, **fields})
    return identity(plan(request, model, Settings()), made_by, media_type)


def test_who_asks_and_which_defaults_are_named_changes_nothing() -> None:
    filled = named(n=1, first_index=0, sampler="ddpm", steps=100, variance="fixed_large")
    assert filled == named()
    asked = SampleRequest(seed=1)
    other = plan(asked, MODEL, Settings(), Envelope("m#7", "key b", "r2"))
    assert identity(other, "me", JSON) == named()


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 2},
        {"n": 2},
        {"first_index": 1},
        {"sampler": "ddim"},
        {"steps": 99},
        {"spacing": "quadratic"},
        {"variance": "fixed_small"},
        {"labels": 0},
        {"labels": 1},
        {"labels": 1, "guidance": 1.0},
        {"labels": 1, "guidance": 1.0, "guidance_interval": [80, 20]},
        {"made_by": "another"},
        {"media_type": "image/png"},
        {"model": dataclasses.replace(MODEL, name="other")},
    ],
    ids=str,
)
def test_whatever_changes_a_byte_changes_it(fields: dict[str, Any]) -> None:
    assert named(**fields) != named()


def test_the_frames_of_a_trajectory_count() -> None:
    def frames(**fields: Any) -> str:
        request = TrajectoryRequest.model_validate({"seed": 1, **fields})
        return identity(plan(request, MODEL, Settings()), "me", JSON)

    assert frames() == frames(frames=11)
    assert len({named(), frames(), frames(frames=3), frames(timesteps=[0])}) == 4


def test_a_zip_holds_the_request_as_it_was_asked_for() -> None:
    asked = SampleRequest(seed=1, model="m")
    assert identity(plan(asked, MODEL, Settings()), "me", JSON) == named()
    zipped = identity(plan(asked, MODEL, Settings()), "me", "application/zip")
    assert zipped != named(media_type="application/zip")


def test_a_zip_whose_request_names_another_t_is_another_one() -> None:
    """The chain begins at the same kept timestep."""

    def begun(t: int, form: str) -> str:
        request = SampleRequest(seed=1, sampler="ddim", steps=10)
        start = Begun(wire.Start(kind="image", pictures=(bytes(64),)), t)
        return identity(plan(request, MODEL, Settings(), begun=start), "me", form)

    assert begun(50, JSON) == begun(55, JSON)
    assert begun(50, "application/zip") != begun(55, "application/zip")
    assert begun(50, "application/zip") == begun(50, "application/zip")


def test_what_an_answer_repeats_counts_also_where_it_changes_no_image() -> None:
    """From t = 10 on these chains take the same single step; JSON answers say 10 steps, or 2."""

    def begun(**fields: Any) -> str:
        request = SampleRequest.model_validate({"seed": 1, "sampler": "ddim", **fields})
        start = Begun(wire.Start(kind="image", pictures=(bytes(64),)), 10)
        return identity(plan(request, MODEL, Settings(), begun=start), "me", JSON)

    assert begun(steps=10) == begun(steps=10, eta=0)
    assert begun(steps=10) != begun(spacing=[100, 10])


def test_no_picture_is_encoded_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many large ones that takes seconds, in which nobody else is answered."""
    monkeypatch.setattr("app.generation.starts.png", None)
    start = Begun(wire.Start(kind="image", pictures=(bytes(64),)), 50)
    planned = plan(SampleRequest(seed=1), MODEL, Settings(), begun=start)
    assert identity(planned, "me", "application/zip") != identity(planned, "me", JSON)
