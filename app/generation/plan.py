"""From a request to the engine's job: defaults are filled in, and what cannot be done is refused.

Nothing is computed and no memory is taken before the whole cost is known.
"""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.generation.chain import Chain, guidance_interval, shown_positions
from app.generation.labels import ImageLabels, labels_of
from app.generation.limits import check_cost, check_images, check_response_size
from app.generation.schemas.fields import MAX_INTEGER
from app.generation.schemas.requests import SampleRequest
from app.generation.starts import Begun, told
from app.settings import Settings
from app.wire.messages import Submit
from app.wire.model_info import ModelInfo
from diffusion.spacing import FormulaName, default_variance


@dataclass(frozen=True)
class Envelope:
    """What stands on a job besides what is asked for. It decides no byte."""

    model: str = ""  # what engines call the version of the model
    client: str = ""  # whose time with the engine it counts as
    request_id: str = ""  # its name in log lines


NOBODY = Envelope()


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
    envelope: Envelope = NOBODY,
    *,
    as_job: bool = False,
    as_stream: bool = False,
    begun: Begun | None = None,
) -> Plan:
    """Fill in the defaults, and refuse what the model or the server's limits (those of jobs, with
    `as_job`) do not allow. The size of an answer `as_stream` has no limit. `begun` is the request's
    start, which has been read. Raises InvalidField or AnswerTooLarge.
    """
    check_images(request, limits, as_job)
    chain = Chain.of(request, model, begun)
    at_once = 1 if as_job else request.n  # a job is run in parts, of one image at least
    check_cost(at_once, len(chain.course), limits, length=chain.length_field)
    labels = labels_of(model, request.labels, request.n, request.guidance)
    interval = guidance_interval(request, model.num_timesteps)
    shown = shown_positions(request, chain.course, model.num_timesteps, limits)
    if not as_stream:  # which is never whole in memory; nor is a job's result, but each sample
        check_response_size(at_once, model, len(shown), limits, as_job)
    return Plan(
        _submit(model, chain, labels, interval, shown, envelope),
        model.name, model.sha256, model.image_shape, labels.asked,
        shown_times=tuple(chain.course.paper_t[position] for position in shown),
        spacing=chain.lasting_spacing,
        guidance_interval=interval,
        names_model=request.model is not None,
        asked_steps=None if begun is None else len(chain.whole),
        start_t=None if begun is None else begun.t,
    )  # fmt: skip


def _submit(
    model: ModelInfo,
    chain: Chain,
    labels: ImageLabels,
    interval: tuple[int, int] | None,
    shown: Sequence[int],
    envelope: Envelope,
) -> Submit:
    """The engine's job of a request that has been checked."""
    request, begun, T = chain.request, chain.begun, model.num_timesteps
    return Submit(
        id=uuid.uuid4().hex,
        model=envelope.model,
        seed=drawn_seed() if request.seed is None else request.seed,
        indices=tuple(range(request.first_index, request.first_index + request.n)),
        labels=labels.for_network,
        sampler=request.sampler,
        steps=len(chain.course),
        eta=request.eta,
        variance=request.variance or default_variance(model.variance, len(chain.whole), T),
        guidance=request.guidance,
        shown=tuple(shown),
        client=envelope.client,
        request_id=envelope.request_id,
        kept=None if request.spacing == "even" and begun is None else chain.spacing.kept,
        guided=None if interval is None else chain.course.stretches(*interval),
        start=None if begun is None else begun.start,
    )


def drawn_seed() -> int:
    """A seed for a request that names none."""
    return secrets.randbelow(MAX_INTEGER + 1)
