"""From a request for the bound to the engine's job, and from its terms to the answer. What
`ddpm bound` does is the same."""

import base64
import dataclasses
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from app.generation import cost
from app.generation.collect import Needs, Result, image
from app.generation.encoding import Encoded, npz, to_json
from app.generation.errors import InvalidField
from app.generation.formats import Format, Formats
from app.generation.labels import labels_of
from app.generation.limits import check_pictures, check_response_size
from app.generation.pictures import Array, Pictures, Sent
from app.generation.plan import NOBODY, Envelope, Plan, drawn_seed
from app.generation.png import png
from app.generation.schemas.bound import BoundRequest
from app.settings import Settings
from app.wire.bound import Bound
from app.wire.messages import Measured, Submit
from app.wire.model_info import ModelInfo
from diffusion import pixels
from diffusion.bound_sum import PictureBound, PictureTerm, Terms, bits_per_dim


async def read_images(request: BoundRequest, model: ModelInfo, pictures: Pictures) -> list[Array]:
    """The pictures, uint8 (C,H,W) each. Raises InvalidField or PicturesBusy."""
    sent = Sent.each("images", request.images)
    return await pictures.images(sent, model.image_shape, resize=request.resize)


def check(request: BoundRequest, model: ModelInfo, limits: Settings) -> Terms:
    """Which terms are computed. Raises InvalidField for what the model or the server's limits do
    not allow."""
    T, sent = model.num_timesteps, Sent.each("images", request.images)
    if model.min_timestep > 0:
        reason = "it has no bound: its network cannot be told t = 1"
        raise InvalidField("model", model.name, reason)
    try:
        terms = Terms.of(request.terms, request.timesteps, T)
    except ValueError as error:
        field, _, reason = str(error).partition(": ")
        value = request.terms if field == "terms" else request.timesteps
        raise InvalidField(field, value, reason.partition("not allowed: ")[2]) from None
    most = limits.most_samples(steps=1)
    check_pictures(sent, "images", limits)
    n = len(sent)
    if n * terms.count > most:
        field = "terms" if request.timesteps is None else "timesteps"
        reason = f"of {n} pictures this server computes at most {most // n} terms for one client"
        raise InvalidField(field, terms.count, reason)
    return terms


def plan_bound(
    request: BoundRequest,
    images: Sequence[Array],
    terms: Terms,
    model: ModelInfo,
    limits: Settings,
    envelope: Envelope = NOBODY,
    *,
    has_pictures: bool = True,
) -> Plan:
    """Fill in the defaults: sample k * count + j of the job is term j of picture k. Raises
    InvalidField, or AnswerTooLarge where the pictures of an answer that `has_pictures` are too
    many."""
    count = len(images) * terms.count
    labels = labels_of(model, request.labels, len(images)).each(terms.count)
    if has_pictures:
        check_response_size(count, model, 1, limits, as_job=False)
    submit = Submit(
        id=uuid.uuid4().hex,
        model=envelope.model,
        seed=drawn_seed() if request.seed is None else request.seed,
        indices=tuple(range(count)),
        labels=labels.for_network,
        sampler="ddpm",
        steps=1,
        variance=request.variance or model.variance,
        shown=(0,),
        client=envelope.client,
        request_id=envelope.request_id,
        bound=Bound(tuple(x_0.tobytes() for x_0 in images), terms.count, terms.timesteps),
    )
    return Plan(submit, model.name, model.sha256, model.image_shape, labels.asked, ())


def formats_of(model: ModelInfo) -> Formats:
    """The formats of the answer."""
    T = model.num_timesteps
    return {
        "application/json": Format(Needs(), partial(encode_json, T=T), cost.bound_json),
        "application/x-npz": Format(Needs(), partial(encode_npz, T=T), cost.bound_npz),
    }


def encode_json(result: Result, T: int) -> Encoded:
    """Encode the terms as a `BoundResponse`."""
    plan, terms = result.plan, sorted(result.terms, key=lambda term: term.index)
    count = _bound(plan).count
    blocks = [to_json(header(plan))[:-1] + b',"images":[']
    for k, told in enumerate(totals(plan, terms, T)):
        own = sorted(terms[k * count : (k + 1) * count], key=lambda term: term.t)
        entries = [entry(plan, term) for term in own]
        blocks.append((b"," if k else b"") + to_json({**told, "terms": entries}))
    blocks.append(b"]," + to_json({"timing": result.timing})[1:])
    return Encoded(sum(map(len, blocks)), blocks)


def encode_npz(result: Result, T: int) -> Encoded:
    """Pack `t` and `weight` int64, and `terms` float64 (n,K), `L_T` and `bits_per_dim` float64
    (n,), and `label` int64 (n,) into an npz; bits_per_dim is NaN where the terms are but some."""
    found = summed(result.plan, result.terms, T)
    each = [sorted(bound.terms, key=lambda term: term.t) for bound in found]
    labels = _labels(result.plan)
    return npz(
        {
            "t": np.array([[term.t for term in terms] for terms in each]),
            "weight": np.array([[int(term.weight) for term in terms] for terms in each]),
            "terms": np.array([[term.bits_per_dim for term in terms] for terms in each]),
            "L_T": np.array([bound.L_T for bound in found]),
            "bits_per_dim": np.array([bound.bits_per_dim for bound in found], np.float64),
            "label": np.array([-1 if label is None else label for label in labels]),
        }
    )


def header(plan: Plan) -> dict[str, Any]:
    """The fields that a JSON answer begins with."""
    return {"id": plan.submit.id, "model": plan.model, "seed": plan.submit.seed}


def totals(plan: Plan, terms: Sequence[Measured], T: int) -> list[dict[str, Any]]:
    """What is told of each picture besides its terms."""
    return [
        {"label": label, **{k: v for k, v in dataclasses.asdict(bound).items() if k != "terms"}}
        for label, bound in zip(_labels(plan), summed(plan, terms, T), strict=True)
    ]


def entry(plan: Plan, event: Measured) -> dict[str, Any]:
    """Build a `BoundTerm` as a dictionary."""

    def picture(raw: bytes) -> str:
        return base64.b64encode(png(pixels.to_uint8(image(plan, raw)))).decode()

    return {
        "t": event.t,
        "bits_per_dim": bits_per_dim(event.nats, _dims(plan)),
        "weight": event.weight,
        "x_t": picture(event.x_t),
        "x0_hat": picture(event.x_0_hat),
    }


def picture_of(plan: Plan, event: Measured) -> int:
    """The number of the picture, from 0, that a term is of."""
    return event.index // _bound(plan).count


def summed(plan: Plan, made: Sequence[Measured], T: int) -> list[PictureBound]:
    """The bound of each picture, from all terms of all of them."""
    bound, D = _bound(plan), _dims(plan)
    is_whole = Terms(bound.count, bound.timesteps).is_whole(T)
    events = sorted(made, key=lambda event: event.index)
    found = []
    for first in range(0, len(events), bound.count):
        own = events[first : first + bound.count]
        terms = [PictureTerm(event.t, bits_per_dim(event.nats, D), event.weight) for event in own]
        L_T = bits_per_dim(own[0].prior_nats, D)
        found.append(PictureBound.of(L_T, terms, is_whole=is_whole))
    return found


def _bound(plan: Plan) -> Bound:
    assert plan.submit.bound is not None
    return plan.submit.bound


def _labels(plan: Plan) -> tuple[int | None, ...]:
    """The label of each picture, of whose terms a plan has one each."""
    return plan.labels[:: _bound(plan).count]


def _dims(plan: Plan) -> int:
    C, H, W = plan.image_shape
    return C * H * W
