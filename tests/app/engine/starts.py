"""Jobs whose chains begin elsewhere than at noise, and what the plain loop makes of them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.wire.messages import Submit
from app.wire.starts import Start
from diffusion import editing
from diffusion.config import Variance
from diffusion.guidance import Conditioning, Model
from diffusion.inversion import inversion
from diffusion.pixels import to_model
from diffusion.process import Process
from diffusion.repaint import repaint
from diffusion.reverse import sample
from diffusion.sampler_table import SamplerTable
from diffusion.samplers import make_table
from diffusion.spacing import SamplerName, Spacing

KEPT = (4, 9, 14, 19, 24, 29)


class Case(NamedTuple):
    """A job, and what `diffusion.editing` calls its start and mask."""

    submit: Submit
    start: editing.Start
    mask: editing.Mask | None = None


def cases(shape: tuple[int, int, int], labels: bool = True) -> list[Case]:
    """One of every kind. All have the timesteps KEPT, of a chain that has 50 or more."""
    _, H, W = shape
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (3, *shape), generator=draw, dtype=torch.uint8)
    mask = torch.randint(0, 2, (1, H, W), generator=draw, dtype=torch.uint8) * 255
    mask[0, 0, 0] = 100
    states = torch.randn(2, *shape, generator=draw)
    raw = [picture.numpy().tobytes() for picture in pictures]
    x_0, known = to_model(pictures), mask[None].float() / 255
    share = mask.numpy().tobytes()

    def job(name: str, n: int, sampler: SamplerName, start: Start, **fields: Any) -> Submit:
        given = tuple(i % 2 for i in range(n)) if labels else None
        indices, variance = tuple(range(3, 3 + n)), fields.pop("variance", "fixed_small")
        steps = fields.pop("steps", len(KEPT))
        return Submit(
            name, "", 5, indices, given, sampler, steps,
            variance=variance, kept=KEPT, start=start, **fields,
        )  # fmt: skip

    def from_picture(**fields: Any) -> Start:
        return Start(kind="image", pictures=tuple(raw[:1]), **fields)

    weights = (0.0, 0.3, 1.0)
    one = editing.FromPicture(x_0=x_0[:1])
    return [
        Case(job("one picture", 2, "ddpm", from_picture()), one),
        Case(
            job("a picture each", 3, "dpmpp", Start(kind="image", pictures=tuple(raw))),
            editing.FromPicture(x_0=x_0),
        ),
        Case(
            job(
                "between pictures", 3, "ddim",
                Start(kind="images", pictures=tuple(raw[:2]), weights=weights, shares_noise=True),
                eta=0.5,
            ),
            editing.BetweenPictures(x_0=x_0[:2], weights=weights),
        ),
        Case(
            job("between seeds", 2, "unipc", Start(kind="seeds", seeds=(1, 2), weights=(0.25,))),
            editing.BetweenSeeds(seeds=(1, 2), weights=(0.25,), image_shape=shape),
        ),
        Case(
            job(
                "states", 2, "ddim",
                Start(kind="x_t", states=tuple(x.numpy().tobytes() for x in states)),
            ),
            editing.FromState(x_t=states),
        ),
        Case(
            job("mask", 2, "ddpm", from_picture(mask=share)), one, editing.Mask(known),
        ),
        Case(
            job("repaint", 2, "ddim", from_picture(mask=share, resamplings=3, jump=2), eta=1.0,
                steps=len(KEPT) + 2 * 2 * 2),
            one,
            editing.Mask(known, 3, 2),
        ),
        Case(
            job(
                "encoding", 2, "ddim", Start(kind="image", pictures=tuple(raw[:2])),
                is_encoding=True,
            ),
            editing.FromState(x_t=x_0[:2]),
        ),
    ]  # fmt: skip


def states(
    case: Case,
    process: Process,
    model: Model,
    shape: tuple[int, int, int],
    null_label: int | None,
    clip: float | None,
    rows: int = 1,
) -> dict[int, list[bytes]]:
    """Each sample's states by the plain loop, `rows` at a time, of which all are the same."""
    submit, start = case.submit, case.start
    table = _table(case, process)
    made = {}
    for place, index in enumerate(submit.indices):
        noise_index = 0 if start.shares_noise else index
        seeds, indices = torch.tensor([[submit.seed], [noise_index]])
        samples = editing.Samples(slice(place, place + 1), seeds, indices)
        begun = editing.begin(start, case.mask, process, int(table.t[0]), samples)
        labels = None
        if submit.labels is not None:
            labels = torch.tensor(submit.labels[place : place + 1] * rows)
        condition = Conditioning(labels, submit.guidance, null_label, submit.guided_steps)
        x_t, known = begun
        assert x_t is not None
        together = sample(
            model, table, seeds.expand(rows), indices.expand(rows), shape, condition, clip,
            x_t.expand(rows, *shape), known and type(known)(*(_many(x, rows) for x in known)),
        )  # fmt: skip
        made[index] = [state.x_t[0].numpy().tobytes() for state in together]
    return made


def _table(case: Case, process: Process) -> SamplerTable:
    submit = case.submit
    if submit.is_encoding:
        return inversion(process, Spacing(KEPT))
    variance: Variance = submit.variance
    table = make_table(process, submit.sampler, Spacing(KEPT), eta=submit.eta, variance=variance)
    mask = case.mask
    return table if mask is None else repaint(table, process, mask.resamplings, mask.jump)


def _many(x: Tensor, rows: int) -> Tensor:
    return x.expand(rows, *x.shape[1:])
