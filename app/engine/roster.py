"""What stays the same from step to step while a batch has the same chains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from app.engine.job import Chain
from app.engine.steps_ahead import StepsAhead
from diffusion.reverse import Known


class Guided(NamedTuple):
    """The chains of a batch that have a second network row: their places in it, and their w."""

    places: Tensor  # (G,) int64
    w: Tensor  # (G,) float64


@dataclass(frozen=True, eq=False, slots=True)
class Roster:
    """A batch's chains while these are the same, and the same ones of them are guided."""

    chains: Sequence[Chain]
    label: Tensor | None  # of each network row
    guided: Guided | None
    clip: float | None  # the limit of x_0_hat
    known: Known | None  # what is given of the chains' images; None: nothing of any
    ahead: StepsAhead

    @classmethod
    def of(
        cls,
        chains: Sequence[Chain],
        ahead: StepsAhead,
        shape: tuple[int, int, int],
        clip: float | None,
        null_label: int | None,
    ) -> Self:
        """The roster of these chains, whose next steps are `ahead`. The network's images have a
        `shape` and a `clip`."""
        device = ahead.t.device
        label, guided = _labels(chains, null_label, device)
        return cls(list(chains), label, guided, clip, _known(chains, shape, device), ahead)


def _labels(
    chains: Sequence[Chain], null_label: int | None, device: torch.device
) -> tuple[Tensor | None, Guided | None]:
    """The label of each network row, and the chains that have a second row."""
    labels = [chain.label for chain in chains]
    if labels[0] is None:
        return None, None
    places = [i for i, chain in enumerate(chains) if chain.job.rows_at(chain.position) > 1]
    if null_label is None or not places:
        return torch.tensor(labels, device=device), None
    w = [chains[i].job.guidance for i in places]
    guided = Guided(
        torch.tensor(places, device=device), torch.tensor(w, dtype=torch.float64, device=device)
    )
    return torch.tensor(labels + [null_label] * len(places), device=device), guided


def _known(
    chains: Sequence[Chain], shape: tuple[int, int, int], device: torch.device
) -> Known | None:
    """What is known of each chain's image: nothing, a mask of 1, of some; None: of any."""
    if not any(chain.is_masked for chain in chains):
        return None
    nothing = Known(torch.zeros(shape), torch.ones(1, *shape[1:]))
    begins = [(chain.job.begins, chain.place) for chain in chains]
    known = [(begin and begin.known(place)) or nothing for begin, place in begins]
    x_0, mask = (torch.stack(part).to(device) for part in zip(*known, strict=True))
    return Known(x_0, mask)
