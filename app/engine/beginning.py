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
    """The start of a job's chains, whose pictures become tensors one by one. These are on the CPU,
    and the same in any batch; samples are told by their place in the job."""

    given: Start
    is_encoding: bool  # the pictures themselves are the first states
    process: Process
    shape: tuple[int, int, int]  # C, H, W
    t: int  # the code's, of the first step
    seed: int

    @property
    def is_masked(self) -> bool:
        """Is a part of the images known?"""
        return self.given.mask is not None

    @property
    def shares_noise(self) -> bool:
        """Has every sample the noise of index 0?"""
        return self.given.shares_noise

    def row(self, _index: int) -> int:
        """The row of the table that a sample's first step takes."""
        return 0

    def state(self, place: int, index: int) -> Tensor:
        """The first state (C,H,W) of the sample whose noise has this index."""
        seeds, indices = torch.tensor([[self.seed], [index]])
        samples = editing.Samples(slice(0, 1), seeds, indices)
        return self._start(place).states(self.process, self.t, samples)[0]

    def known(self, place: int) -> Known | None:
        """The part of the sample's image that is given: x_0 (C,H,W) and mask (1,H,W)."""
        if self.given.mask is None:
            return None
        (x_0,) = self._pictures(self.given.only([place]))
        mask = tensor_of([self.given.mask], torch.uint8, (1, *self.shape[1:]))
        return Known(x_0, mask[0].float() / 255)

    def _start(self, place: int) -> editing.Start:
        """The start of the sample alone."""
        given = self.given.only([place])
        if self.is_encoding:
            return editing.FromState(x_t=self._pictures(given))
        match given.kind:
            case "image":
                return editing.FromPicture(x_0=self._pictures(given))
            case "images":
                return editing.BetweenPictures(x_0=self._pictures(given), weights=given.weights)
            case "seeds":
                assert given.seeds is not None
                return editing.BetweenSeeds(
                    seeds=given.seeds, weights=given.weights, image_shape=self.shape
                )
            case "x_t":
                return editing.FromState(x_t=tensor_of(given.states, torch.float32, self.shape))

    def _pictures(self, given: Start) -> Tensor:
        return pixels.to_model(tensor_of(given.pictures, torch.uint8, self.shape))


Begins = Callable[[Submit, SamplerTable], Beginning | Terms | None]


def beginnings(process: Process, shape: tuple[int, int, int]) -> Begins:
    """What says where a job begins: None is noise. Images have the `shape` C, H, W."""

    def beginning(submit: Submit, table: SamplerTable) -> Beginning | Terms | None:
        if submit.bound is not None:
            pictures = pixels.to_model(tensor_of(submit.bound.pictures, torch.uint8, shape))
            return Terms(submit, submit.bound, process, pictures)
        given = submit.start
        if given is None:
            return None
        first = int(table.t[0])
        return Beginning(given, submit.is_encoding, process, shape, first, submit.seed)

    return beginning


def tensor_of(given: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, int, int]) -> Tensor:
    """Raw pictures as a tensor (n,C,H,W)."""
    whole = torch.frombuffer(bytearray(b"".join(given)), dtype=dtype)
    return whole.reshape(len(given), *shape)
