"""From a request to the engine's job: defaults are filled in, and what cannot be done is refused.

Nothing is computed and no memory is taken before the whole cost is known.
"""

import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from app.generation.errors import InvalidField
from app.generation.limits import check_cost, check_images, check_response_size
from app.generation.schemas.fields import MAX_INTEGER
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.generation.starts import Begun, told
from app.settings import Settings
from app.wire.messages import ModelInfo, Submit
from diffusion.course import Course
from diffusion.labels import LabelError, Labels, check_interval
from diffusion.spacing import (
    FormulaName,
    Spacing,
    check_chain,
    check_sampler,
    default_variance,
    kept_timesteps,
)


@dataclass(frozen=True)
class Plan:
    """A request that can be carried out: the engine's job, and what the answer needs besides."""

    submit: Submit
    model: str
    sha256: str
    image_shape: tuple[int, int, int]
    labels: tuple[int | None, ...]  # as asked for, one for each index
    shown_times: tuple[int, ...]  # the paper's t of each frame
    spacing: FormulaName | tuple[int, ...] = "even"  # as asked for; a list: the paper's t
    guidance_interval: tuple[int, int] | None = None  # as asked for
    names_model: bool = False  # the request does
    asked_steps: int | None = None  # timesteps that the whole chain keeps; None: those it takes
    start_t: int | None = None  # as asked for

    @property
    def steps(self) -> int:
        """The number of timesteps kept, as the request has it."""
        return self.submit.steps if self.asked_steps is None else self.asked_steps

    @property
    def header(self) -> dict[str, Any]:
        """The fields that every JSON answer begins with."""
        submit = self.submit
        return {
            "id": submit.id,
            "model": self.model,
            "seed": submit.seed,
            "sampler": submit.sampler,
            "steps": self.steps,
        }

    @property
    def request(self) -> dict[str, Any]:
        """The request with every default filled in: sent again, it gives the same bytes."""
        submit = self.submit
        fields: dict[str, Any] = {
            "n": len(submit.indices),
            "seed": submit.seed,
            "first_index": submit.indices[0],
            "sampler": submit.sampler,
            "steps": self.steps,
            "labels": None if None in self.labels else list(self.labels),
            "guidance": submit.guidance,
        }
        if isinstance(self.spacing, tuple):
            fields["spacing"] = list(self.spacing)  # its length is the number of steps
            del fields["steps"]
        elif self.spacing != "even":  # request.json of all others stays as it was
            fields["spacing"] = self.spacing
        if self.names_model:
            fields["model"] = self.model
        if self.guidance_interval is not None:
            fields["guidance_interval"] = list(self.guidance_interval)
        if submit.sampler == "ddim":
            fields["eta"] = submit.eta
        if submit.sampler == "ddpm":
            # A learned variance is the checkpoint's own: what null means.
            fields["variance"] = None if submit.variance == "learned_range" else submit.variance
        if submit.start is not None:
            fields |= told(submit.start, self.start_t, self.image_shape)
        return fields


def plan(
    request: SampleRequest,
    model: ModelInfo,
    limits: Settings,
    *,
    key: str = "",
    client: str = "",
    seed: int | None = None,
    request_id: str = "",
    as_job: bool = False,
    as_stream: bool = False,
    begun: Begun | None = None,
) -> Plan:
    """Fill in the defaults, and refuse what the model or the server's limits (those of jobs, with
    `as_job`) do not allow. The size of an answer `as_stream` has no limit. `begun` is the request's
    start, which has been read.

    `key` is what engines call the model. `seed` is the one to use if the request names none;
    without it, one is drawn. The engine's time is counted for `client`. Raises InvalidField or
    AnswerTooLarge.
    """
    T = model.num_timesteps
    check_images(request, limits, as_job)
    _check_sampler(request, model)
    _check_sampler_fields(request)
    whole = _spacing(request, model)
    spacing = whole if begun is None else begun.spacing(whole)
    course = _course(request, spacing)
    # A job is run in parts, of one image at least
    check_cost(1 if as_job else request.n, len(course), limits, length=_lengthy(request))
    known = Labels(len(model.classes), model.null_label)
    labels = labels_of(known, request.labels, request.n, request.guidance)
    interval = _interval(request, T)
    guided = None if interval is None else course.stretches(*interval)
    shown = _shown(request, course, T, limits)
    if not as_stream:  # which is never whole in memory; nor is a job's result, but each sample
        check_response_size(1 if as_job else request.n, model, len(shown), limits, as_job)
    submit = Submit(
        id=uuid.uuid4().hex,
        model=key,
        seed=_seed(request, seed),
        indices=tuple(range(request.first_index, request.first_index + request.n)),
        labels=known.for_network(labels),
        sampler=request.sampler,
        steps=len(course),
        eta=request.eta,
        variance=request.variance or default_variance(model.variance, len(whole), T),
        guidance=request.guidance,
        shown=tuple(shown),
        client=client,
        request_id=request_id,
        kept=None if request.spacing == "even" and begun is None else spacing.kept,
        guided=guided,
        start=None if begun is None else begun.start,
    )
    shown_times = tuple(course.paper_t[position] for position in shown)
    asked = _spacing_told(request, whole)
    return Plan(
        submit, model.name, model.sha256, model.image_shape, labels, shown_times, asked, interval,
        names_model=request.model is not None,
        asked_steps=None if begun is None else len(whole),
        start_t=None if begun is None else begun.t,
    )  # fmt: skip


def _seed(request: SampleRequest, given: int | None) -> int:
    """The request's own seed, else the one given for it, else one that is drawn."""
    if request.seed is not None:
        return request.seed
    return given if given is not None else secrets.randbelow(MAX_INTEGER + 1)


def _check_sampler(request: SampleRequest, model: ModelInfo) -> None:
    try:
        check_sampler(request.sampler, zero_snr=model.alpha_bar_T == 0)
    except ValueError as error:
        raise InvalidField("sampler", request.sampler, str(error)) from None


def _spacing(request: SampleRequest, model: ModelInfo) -> Spacing:
    """The timesteps that the chain keeps. Raises InvalidField."""
    T, steps = model.num_timesteps, request.steps
    if steps is not None and isinstance(request.spacing, list):
        reason = "spacing is a list of the timesteps, so leave steps out"
        raise InvalidField("steps", steps, reason)
    if steps is not None and steps > T:
        raise InvalidField("steps", steps, f"this model has T = {T}, so it must be 1..{T}")
    alpha_bar = model.alpha_bar[1:]  # from the paper's t = 1
    try:
        spacing = kept_timesteps(request.spacing, steps, request.sampler, alpha_bar, model.tuned)
        check_chain(spacing, model.min_timestep)
    except ValueError as error:
        raise InvalidField("spacing", request.spacing, str(error)) from None
    return spacing


def _course(request: SampleRequest, spacing: Spacing) -> Course:
    """The states that the chain passes. Raises InvalidField."""
    if request.resamplings > 1 and len(spacing) == 1:
        reason = "it must be 1: the chain has a single step, over which there is no way back"
        raise InvalidField("resamplings", request.resamplings, reason)
    if request.resamplings > 1 and request.jump >= len(spacing):
        reason = f"it must be less than the {len(spacing)} steps of the chain"
        raise InvalidField("jump", request.jump, reason)
    return Course.of(spacing, request.resamplings, request.jump)


def _spacing_told(request: SampleRequest, spacing: Spacing) -> FormulaName | tuple[int, ...]:
    """The spacing that gives the same bytes again: a tuned one as its list, since a card may be
    tuned anew."""
    if request.spacing == "tuned":
        return spacing.paper_t[:-1]
    return tuple(request.spacing) if isinstance(request.spacing, list) else request.spacing


def _lengthy(request: SampleRequest) -> str:
    """The field that makes the chain so long."""
    if request.resamplings > 1:
        return "resamplings"
    return "spacing" if isinstance(request.spacing, list) else "steps"


def _check_sampler_fields(request: SampleRequest) -> None:
    if request.eta and request.sampler != "ddim":
        raise InvalidField("eta", request.eta, f"it applies to ddim, not to {request.sampler}")
    if request.variance is not None and request.sampler != "ddpm":
        reason = f"it applies to ddpm, not to {request.sampler}"
        raise InvalidField("variance", request.variance, reason)


def labels_of(
    known: Labels, labels: int | list[int] | None, n: int, guidance: float = 0.0
) -> tuple[int | None, ...]:
    """The label of each of n images. Raises InvalidField for those that the model does not have."""
    try:
        return known.for_each(labels, n, guidance)
    except LabelError as error:
        raise InvalidField(error.field, error.value, error.reason) from None


def _interval(request: SampleRequest, T: int) -> tuple[int, int] | None:
    """The t, from high to low, at which there is guidance; None: at all. Raises InvalidField."""
    if request.guidance_interval is None:
        return None
    try:
        check_interval(request.guidance_interval, request.guidance, T)
    except LabelError as error:
        raise InvalidField(error.field, error.value, error.reason) from None
    high, low = request.guidance_interval
    return high, low


def _shown(request: SampleRequest, course: Course, T: int, limits: Settings) -> list[int]:
    """The positions that become frames; none for /sample."""
    if not isinstance(request, TrajectoryRequest):
        return []
    wanted, limit = request.timesteps, limits.max_frames
    if wanted is None:
        if request.frames > limit:
            raise InvalidField("frames", request.frames, f"this server shows 2..{limit} frames")
        return course.even_positions(request.frames)
    if "frames" in request.model_fields_set:
        raise InvalidField("frames", request.frames, "give frames or timesteps, not both")
    if len(wanted) > limit:
        raise InvalidField("timesteps", len(wanted), f"this server shows at most {limit} frames")
    for t in wanted:
        if t > T:
            raise InvalidField("timesteps", t, f"this model has T = {T}, so t must be 0..{T}")
    return course.positions_of(wanted)
