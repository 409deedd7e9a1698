"""Where the chains of a job begin that do not begin at noise, and which part of a picture they
keep: the tensors of what a client's request says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.terms import Terms
from app.wire.messages import Submit
from app.wire.starts import Start
from diffusion import editing, pixels
from diffusion.process import Process
from diffusion.reverse import Known
from diffusion.sampler_table import SamplerTable


@dataclass(frozen=True, eq=False)
class Beginning:
    """The start of a job's chains. What it makes is on the CPU, the same in any batch; samples are
    told by their place in the job."""

    start: editing.Start
    mask: Tensor | None  # (1,1,H,W) in 0..1
    pictures: Tensor  # (1 or n,C,H,W), of which the mask keeps a part
    process: Process
    t: int  # the code's, of the first step
    seed: int
    shares_noise: bool

    def state(self, place: int, index: int) -> Tensor:
        """The first state (C,H,W) of the sample with this index."""
        seeds, indices = torch.tensor([[self.seed], [index]])
        samples = editing.Samples(slice(place, place + 1), seeds, indices)
        return self.start.states(self.process, self.t, samples)[0]

    def row(self, _index: int) -> int:
        """The row of the table that a sample's first step takes."""
        return 0

    def known(self, place: int) -> Known | None:
        """The part of the sample's image that is given: x_0 (C,H,W) and mask (1,H,W)."""
        if self.mask is None:
            return None
        return Known(self.pictures[place if len(self.pictures) > 1 else 0], self.mask[0])


Begins = Callable[[Submit, SamplerTable], Beginning | Terms | None]


def beginnings(process: Process, shape: tuple[int, int, int]) -> Begins:
    """What says where a job begins: None is noise. Images have the `shape` C, H, W."""
    C, H, W = shape

    def beginning(submit: Submit, table: SamplerTable) -> Beginning | Terms | None:
        if submit.bound is not None:
            pictures = pixels.to_model(tensor_of(submit.bound.pictures, torch.uint8, shape))
            return Terms(submit, submit.bound, process, pictures)
        given = submit.start
        if given is None:
            return None
        pictures = pixels.to_model(tensor_of(given.pictures, torch.uint8, shape))
        mask = None
        if given.mask is not None:
            mask = tensor_of([given.mask], torch.uint8, (1, H, W)).float() / 255
        return Beginning(
            editing.FromState(x_t=pictures)
            if submit.is_encoding
            else _start(given, pictures, shape),
            mask,
            pictures,
            process,
            int(table.t[0]),
            submit.seed,
            given.shares_noise,
        )

    return beginning


def _start(given: Start, pictures: Tensor, shape: tuple[int, int, int]) -> editing.Start:
    match given.kind:
        case "image":
            return editing.FromPicture(x_0=pictures)
        case "images":
            return editing.BetweenPictures(x_0=pictures, weights=given.weights)
        case "seeds":
            assert given.seeds is not None
            return editing.BetweenSeeds(seeds=given.seeds, weights=given.weights, image_shape=shape)
        case "x_t":
            return editing.FromState(x_t=tensor_of(given.states, torch.float32, shape))


def tensor_of(given: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, int, int]) -> Tensor:
    """Raw pictures as a tensor (n,C,H,W); of none, (0,C,H,W)."""
    if not given:
        return torch.zeros(0, *shape, dtype=dtype)
    whole = torch.frombuffer(bytearray(b"".join(given)), dtype=dtype)
    return whole.reshape(len(given), *shape)
