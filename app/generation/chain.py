"""The chain of a request: its sampler, the timesteps that it keeps, the states that it passes;
which of them are shown, and where there is guidance."""

from dataclasses import dataclass
from typing import Self

from app.generation.errors import InvalidField
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.generation.starts import Begun
from app.settings import Settings
from app.wire.model_info import ModelInfo
from diffusion.course import Course
from diffusion.labels import LabelError, check_interval
from diffusion.spacing import FormulaName, Spacing, check_chain, check_sampler, kept_timesteps


@dataclass(frozen=True)
class Chain:
    """The way of each image of a request: from T, or from where it begins."""

    request: SampleRequest
    begun: Begun | None
    whole: Spacing  # the timesteps that are kept of a chain from T
    spacing: Spacing  # and of this one
    course: Course  # the states that it passes

    @classmethod
    def of(cls, request: SampleRequest, model: ModelInfo, begun: Begun | None) -> Self:
        """The chain that a request asks for, from its start. Raises InvalidField where the model or
        the sampler has none of that kind."""
        _check_sampler(request, model)
        whole = _kept(request, model)
        spacing = whole if begun is None else begun.spacing(whole)
        return cls(request, begun, whole, spacing, _course(request, spacing))

    @property
    def length_field(self) -> str:
        """The field of the request that makes the chain so long."""
        if self.request.resamplings > 1:
            return "resamplings"
        return "spacing" if isinstance(self.request.spacing, list) else "steps"

    @property
    def lasting_spacing(self) -> FormulaName | tuple[int, ...]:
        """The spacing that gives the same bytes for ever: a tuned one as its list, since a card may
        be tuned anew."""
        asked = self.request.spacing
        if asked == "tuned":
            return self.whole.paper_t[:-1]
        return tuple(asked) if isinstance(asked, list) else asked


def guidance_interval(request: SampleRequest, T: int) -> tuple[int, int] | None:
    """The t, from high to low, at which there is guidance; None: at all. Raises InvalidField."""
    if request.guidance_interval is None:
        return None
    try:
        check_interval(request.guidance_interval, request.guidance, T)
    except LabelError as error:
        raise InvalidField(error.field, error.value, error.reason) from None
    high, low = request.guidance_interval
    return high, low


def shown_positions(request: SampleRequest, course: Course, T: int, limits: Settings) -> list[int]:
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


def _check_sampler(request: SampleRequest, model: ModelInfo) -> None:
    """Raise InvalidField for a sampler that the model cannot have, and for fields of another."""
    try:
        check_sampler(request.sampler, zero_snr=model.alpha_bar_T == 0)
    except ValueError as error:
        raise InvalidField("sampler", request.sampler, str(error)) from None
    if request.eta and request.sampler != "ddim":
        raise InvalidField("eta", request.eta, f"it applies to ddim, not to {request.sampler}")
    if request.variance is not None and request.sampler != "ddpm":
        reason = f"it applies to ddpm, not to {request.sampler}"
        raise InvalidField("variance", request.variance, reason)


def _kept(request: SampleRequest, model: ModelInfo) -> Spacing:
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
