"""From an encoding's fields to the engine's job: pictures to the x_t from which DDIM makes them
again. What `ddpm encode` does is the same."""

import uuid
from collections.abc import Sequence

from app.generation.errors import InvalidField
from app.generation.labels import labels_of
from app.generation.limits import check_cost, check_pictures, check_response_size
from app.generation.pictures import Array, Pictures, Sent
from app.generation.plan import NOBODY, Envelope, Plan
from app.generation.schemas.encode import EncodeRequest
from app.settings import Settings
from app.wire.messages import Submit
from app.wire.model_info import ModelInfo
from app.wire.starts import Start
from diffusion.spacing import Spacing, check_chain


async def read_images(request: EncodeRequest, model: ModelInfo, pictures: Pictures) -> list[Array]:
    """The pictures, uint8 (C,H,W) each. Raises InvalidField or PicturesBusy."""
    sent = Sent.each("image", request.image)
    return await pictures.images(sent, model.image_shape, resize=request.resize)


def plan_encoding(
    request: EncodeRequest,
    images: Sequence[Array],
    model: ModelInfo,
    limits: Settings,
    envelope: Envelope = NOBODY,
) -> Plan:
    """Fill in the defaults, and refuse what the model or the server's limits do not allow. The
    last state is its only frame. Raises InvalidField or AnswerTooLarge."""
    n = len(images)
    check_number(request, limits)
    kept = _kept(request, model)
    check_cost(n, len(kept), limits, number="image")
    labels = labels_of(model, request.labels, n)
    check_response_size(n, model, 1, limits, as_job=False)
    submit = Submit(
        id=uuid.uuid4().hex,
        model=envelope.model,
        seed=0,
        indices=tuple(range(n)),
        labels=labels.for_network,
        sampler="ddim",
        steps=len(kept),
        shown=(len(kept),),
        client=envelope.client,
        request_id=envelope.request_id,
        kept=kept.kept,
        start=Start(kind="image", pictures=tuple(image.tobytes() for image in images)),
        is_encoding=True,
    )
    return Plan(
        submit, model.name, model.sha256, model.image_shape, labels.asked,
        shown_times=(kept.paper_t[0],),
        asked_steps=request.steps,
    )  # fmt: skip


def check_number(request: EncodeRequest, limits: Settings) -> None:
    """Raise InvalidField for more pictures than a request may have."""
    check_pictures(Sent.each("image", request.image), "image", limits)


def _kept(request: EncodeRequest, model: ModelInfo) -> Spacing:
    """The timesteps up to t that DDIM keeps with so many steps. Raises InvalidField."""
    T, t = model.num_timesteps, request.t
    for name, value in (("steps", request.steps), ("t", t)):
        if value is not None and value > T:
            raise InvalidField(name, value, f"this model has T = {T}, so it must be 1..{T}")
    whole = Spacing.even(T, request.steps)
    try:
        check_chain(whole, model.min_timestep)
    except ValueError as error:
        raise InvalidField("steps", request.steps, str(error)) from None
    try:
        spacing = whole if t is None else whole.up_to(t)
    except ValueError as error:
        raise InvalidField("t", t, str(error)) from None
    if model.alpha_bar[spacing.paper_t[0]] == 0:
        reason = "nothing of the picture is left there (zero terminal SNR); choose a lower t"
        raise InvalidField("t", t, reason)
    return spacing
