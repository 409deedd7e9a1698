"""From a request for the bound to its job, and from terms to the answer."""

import base64
import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.generation.bound import check, encode_json, encode_npz, formats_of, plan_bound
from app.generation.collect import Needs, Result
from app.generation.encoding import Encoded
from app.generation.errors import AnswerTooLarge, InvalidField
from app.generation.plan import Envelope, Plan
from app.generation.schemas.bound import BoundRequest, BoundResponse
from app.settings import Settings
from app.wire.messages import Measured
from app.wire.model_info import ModelInfo
from diffusion.bound_sum import Terms, bits_per_dim
from tests.model_info import MODEL

T, DIMS = MODEL.num_timesteps, 3 * 8 * 8
IMAGES = [np.full(MODEL.image_shape, value, np.uint8) for value in (0, 255)]


def request(**fields: Any) -> BoundRequest:
    return BoundRequest.model_validate({"images": ["a", "b"], **fields})


def planned(limits: Settings | None = None, has_pictures: bool = True, **fields: Any) -> Plan:
    asked, limits = request(**fields), limits or Settings()
    terms = check(asked, MODEL, limits)
    envelope = Envelope("m#1", "c", "r")
    return plan_bound(asked, IMAGES, terms, MODEL, limits, envelope, has_pictures=has_pictures)


def test_each_term_of_each_picture_is_a_sample_of_one_step() -> None:
    plan = planned(terms=4, labels=[1, 0], seed=7)
    submit = plan.submit
    assert submit.indices == tuple(range(8)) and submit.steps == 1 and submit.cost == 8
    assert submit.labels == (1, 1, 1, 1, 0, 0, 0, 0) == plan.labels
    assert submit.bound is not None
    assert (submit.bound.count, submit.bound.timesteps) == (4, ())
    assert submit.bound.pictures == tuple(image.tobytes() for image in IMAGES)
    assert (submit.seed, submit.variance, submit.shown) == (7, "fixed_large", (0,))
    assert (submit.model, submit.client, submit.request_id) == ("m#1", "c", "r")


def test_defaults_are_forty_terms_the_checkpoints_variance_and_any_seed() -> None:
    plan = planned()
    assert plan.submit.bound is not None and plan.submit.bound.count == 40
    assert plan.submit.labels == (2,) * 80 and plan.labels == (None,) * 80
    assert plan.submit.seed != planned().submit.seed
    assert planned(variance="fixed_small").submit.variance == "fixed_small"
    chosen = planned(timesteps=[50, 1, 50]).submit.bound
    assert chosen is not None and (chosen.count, chosen.timesteps) == (2, (1, 50))


def refusal(model: ModelInfo = MODEL, limits: Settings | None = None, **fields: Any) -> str:
    with pytest.raises(InvalidField) as caught:
        check(request(**fields), model, limits or Settings())
    return f"{caught.value.name}: {caught.value.value}: {caught.value.reason}"


def test_what_the_model_lacks_is_refused_by_field() -> None:
    assert refusal(terms=101) == "terms: 101: it must be 2..100, all of the terms"
    assert refusal(timesteps=[1, 101]) == "timesteps: [1, 101]: it must be 1..100"
    assert refusal(terms=2, timesteps=[1]) == "terms: 2: timesteps says which they are"
    late = dataclasses.replace(MODEL, min_timestep=1)
    assert refusal(late) == "model: m: it has no bound: its network cannot be told t = 1"
    with pytest.raises(InvalidField, match="^labels: "):
        planned(labels=5)


def test_the_cost_is_known_before_a_picture_is_decoded() -> None:
    few = Settings(max_client_samples=50)
    told = "of 2 pictures this server computes at most 25 terms for one client"
    assert refusal(limits=few, terms=26) == f"terms: 26: {told}"
    assert refusal(limits=few, timesteps=list(range(1, 27))) == f"timesteps: 26: {told}"
    assert check(request(terms=25), MODEL, few) == Terms(25)
    one = Settings(max_samples=1)
    assert refusal(limits=one) == "images: 2: this server takes 1..1 pictures a request"
    small = Settings(max_response_bytes=2 * 80 * DIMS * 4 - 1)
    with pytest.raises(AnswerTooLarge):
        planned(small)
    assert planned(small, has_pictures=False)


def result_of(plan: Plan) -> Result:
    """Terms that come in any order: picture k's at t is (k + 1) t nats."""
    result, bound = Result(plan, Needs()), plan.submit.bound
    assert bound is not None
    picture = np.zeros(MODEL.image_shape, np.float32)
    for index in reversed(plan.submit.indices):
        k, j = divmod(index, bound.count)
        t = bound.timesteps[j] if bound.timesteps else 1 + 10 * j
        result.terms.append(
            Measured(
                plan.submit.id,
                index,
                t,
                (k + 1.0) * t,
                1.0 if j == 0 else 5.0,
                2.0,
                (picture + 5).tobytes(),
                (picture - k).tobytes(),
            )  # fmt: skip
        )
    result.timing = {"queued_s": 0.0, "compute_s": 1.0}
    return result


def body(encoded: Encoded) -> bytes:
    content = b"".join(encoded.blocks)
    assert len(content) == encoded.size
    return content


def test_json_has_every_term_in_bits_with_its_pictures() -> None:
    plan = planned(terms=3, labels=[1, 0], seed=7)
    content = body(encode_json(result_of(plan), T))
    assert len(content) <= formats_of(MODEL)["application/json"].cost(plan)
    answer = BoundResponse.model_validate(json.loads(content))
    assert (answer.model, answer.seed, len(answer.images)) == ("m", 7, 2)
    for k, found in enumerate(answer.images):
        bits = [bits_per_dim((k + 1.0) * t, DIMS) for t in (1, 11, 21)]
        assert [term.t for term in found.terms] == [1, 11, 21]
        assert [term.bits_per_dim for term in found.terms] == bits
        assert found.label == (1, 0)[k]
        assert (found.L_0, found.L_T) == (bits[0], bits_per_dim(2.0, DIMS))
        assert found.bits_per_dim == pytest.approx(found.L_T + bits[0] + 5 * (bits[1] + bits[2]))
        assert found.standard_error is not None and found.standard_error > 0
        for picture, value in ((found.terms[0].x_t, 255), (found.terms[0].x0_hat, (128, 0)[k])):
            with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
                assert image.size == (8, 8) and abs(int(np.asarray(image).max()) - value) <= 1


def test_some_terms_have_no_total() -> None:
    plan = planned(timesteps=[20, 10], labels=[1, 0])
    answer = BoundResponse.model_validate(json.loads(body(encode_json(result_of(plan), T))))
    for found in answer.images:
        assert (found.bits_per_dim, found.standard_error, found.L_0) == (None, None, None)
    with np.load(io.BytesIO(body(encode_npz(result_of(plan), T))), allow_pickle=False) as arrays:
        assert np.isnan(arrays["bits_per_dim"]).all()


def test_npz_has_the_numbers() -> None:
    plan = planned(terms=3, labels=[1, 0])
    content = body(encode_npz(result_of(plan), T))
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert arrays["t"].tolist() == [[1, 11, 21]] * 2
        assert arrays["weight"].tolist() == [[1, 5, 5]] * 2
        assert arrays["terms"].dtype == np.float64 and arrays["terms"].shape == (2, 3)
        assert np.allclose(arrays["terms"][1], 2 * arrays["terms"][0])
        assert arrays["label"].tolist() == [1, 0]
        total = arrays["L_T"] + (arrays["weight"] * arrays["terms"]).sum(axis=1)
        assert np.allclose(arrays["bits_per_dim"], total)
