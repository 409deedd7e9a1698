"""From a request to the engine's job: defaults filled in, everything that can be refused refused.

Nothing is computed and no memory is taken before the whole cost is known.
"""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.generation.schemas import MAX_INTEGER, SampleRequest, TrajectoryRequest
from app.http.problems import Problem, invalid_field
from app.settings import Settings
from app.wire.messages import Submit
from diffusion.spacing import Spacing, default_steps, default_variance


@dataclass(frozen=True)
class Plan:
    """An accepted request: the job, and what its answer needs."""

    submit: Submit
    model: str
    sha256: str
    image_shape: tuple[int, int, int]
    labels: tuple[int | None, ...]  # as asked for, one for each index
    shown_times: tuple[int, ...]  # the paper's t of each frame

    @property
    def header(self) -> dict[str, Any]:
        """The fields that every JSON answer begins with."""
        submit = self.submit
        return {
            "id": submit.id,
            "model": self.model,
            "seed": submit.seed,
            "sampler": submit.sampler,
            "steps": submit.steps,
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
            "steps": submit.steps,
            "labels": None if None in self.labels else list(self.labels),
            "guidance": submit.guidance,
        }
        if submit.sampler == "ddim":
            fields["eta"] = submit.eta
        if submit.sampler == "ddpm":
            # A learned variance is the checkpoint's own: what null means.
            fields["variance"] = None if submit.variance == "learned_range" else submit.variance
        return fields


def plan(
    request: SampleRequest,
    model: dict[str, Any],
    settings: Settings,
    request_id: str = "",
    *,
    as_job: bool = False,
) -> Plan:
    """Check the request against the model and the limits, those of jobs if it is to be one.

    Raises Problem 422 naming the field.
    """
    T: int = model["num_timesteps"]
    _check_limits(request, settings.max_job_samples if as_job else settings.max_samples, as_job)
    _check_sampler_fields(request)
    steps = request.steps if request.steps is not None else default_steps(request.sampler, T)
    if steps > T:
        raise invalid_field("steps", steps, f"this model has T = {T}, so it must be 1..{T}")
    if not as_job:  # which is run in parts
        _check_cost(request.n, steps, settings)
    labels = _labels(request, model)
    spacing = Spacing.even(T, steps)
    shown = _shown(request, spacing, T, settings)
    if not as_job:  # a job's answer is not held in memory; what it takes of the disk is bounded
        _check_response_size(request, model, len(shown), settings)
    null_label = model["null_label"]
    submit = Submit(
        id=uuid.uuid4().hex,
        seed=request.seed if request.seed is not None else secrets.randbelow(MAX_INTEGER + 1),
        indices=tuple(range(request.first_index, request.first_index + request.n)),
        labels=_network_labels(labels, null_label) if model["classes"] else None,
        sampler=request.sampler,
        steps=steps,
        eta=request.eta,
        variance=request.variance or default_variance(model["variance"], steps, T),
        guidance=request.guidance,
        shown=tuple(shown),
        request_id=request_id,
    )
    shape = tuple(model["image_shape"])
    shown_times = tuple(spacing.paper_t[position] for position in shown)
    return Plan(submit, model["name"], model["sha256"], shape, labels, shown_times)


def with_seed(plan: Plan, seed: int) -> Plan:
    """The same, of another seed."""
    return replace(plan, submit=replace(plan.submit, seed=seed))


def for_client(plan: Plan, client: str) -> Plan:
    """The same, counted for a client."""
    return replace(plan, submit=replace(plan.submit, client=client))


def _check_cost(n: int, steps: int, settings: Settings) -> None:
    """What one client may never have in the queue is invalid."""
    most = min(
        settings.max_client_samples, settings.max_client_steps // steps,
        settings.max_queue_steps // steps,
    )  # fmt: skip
    if n > most:
        reason = f"in {steps} steps this server makes at most {most} images for one client"
        raise invalid_field("n", n, reason)


def _check_limits(request: SampleRequest, limit: int, as_job: bool) -> None:
    if request.n > limit:
        what = "job" if as_job else "request"
        raise invalid_field("n", request.n, f"this server makes 1..{limit} images a {what}")
    if request.first_index + request.n - 1 > MAX_INTEGER:
        reason = f"the last index, first_index + n - 1, must be at most {MAX_INTEGER}"
        raise invalid_field("first_index", request.first_index, reason)


def _check_sampler_fields(request: SampleRequest) -> None:
    if request.eta and request.sampler != "ddim":
        raise invalid_field("eta", request.eta, f"it applies to ddim, not to {request.sampler}")
    if request.variance is not None and request.sampler != "ddpm":
        reason = f"it applies to ddpm, not to {request.sampler}"
        raise invalid_field("variance", request.variance, reason)


def _labels(request: SampleRequest, model: dict[str, Any]) -> tuple[int | None, ...]:
    """One label, or None, for each sample."""
    count, labels = len(model["classes"]), request.labels
    if request.guidance and (labels is None or model["null_label"] is None):
        reason = "it needs labels, and a model trained with label dropout"
        raise invalid_field("guidance", request.guidance, reason)
    if labels is None:
        if count and model["null_label"] is None:
            raise invalid_field("labels", None, f"this model needs labels, 0..{count - 1}")
        return (None,) * request.n
    if not count:
        raise invalid_field("labels", labels, "this model is unconditional")
    each = [labels] * request.n if isinstance(labels, int) else labels
    if len(each) != request.n:
        reason = f"{len(each)} labels for n = {request.n} images; give one, or n of them"
        raise invalid_field("labels", labels, reason)
    for label in each:
        if label >= count:
            raise invalid_field("labels", label, f"this model has labels 0..{count - 1}")
    return tuple(each)


def _network_labels(labels: Sequence[int | None], null_label: int | None) -> tuple[int, ...]:
    """What the network is told: the null label where none is asked for."""
    return tuple(null_label or 0 if label is None else label for label in labels)


def _shown(request: SampleRequest, spacing: Spacing, T: int, settings: Settings) -> list[int]:
    """The positions of the frames; none for /sample."""
    if not isinstance(request, TrajectoryRequest):
        return []
    wanted, limit = request.timesteps, settings.max_frames
    if wanted is None:
        if request.frames > limit:
            raise invalid_field("frames", request.frames, f"this server shows 2..{limit} frames")
        return spacing.even_positions(request.frames)
    if "frames" in request.model_fields_set:
        raise invalid_field("frames", request.frames, "give frames or timesteps, not both")
    if len(wanted) > limit:
        raise invalid_field("timesteps", len(wanted), f"this server shows at most {limit} frames")
    for t in wanted:
        if t > T:
            raise invalid_field("timesteps", t, f"this model has T = {T}, so t must be 0..{T}")
    return spacing.positions_of(wanted)


def _check_response_size(
    request: SampleRequest, model: dict[str, Any], frames: int, settings: Settings
) -> None:
    C, H, W = model["image_shape"]
    pictures = request.n * max(1, 2 * frames)
    size = pictures * C * H * W * 4  # float32, as the npz has them
    if size > settings.max_response_bytes:
        raise Problem(
            422,
            f"the answer would take {size} bytes ({pictures} float32 pictures of {C}x{H}x{W}); "
            f"this server's limit is {settings.max_response_bytes}: ask for fewer images or frames",
        )
