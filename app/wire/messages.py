"""What the API process and an engine process tell each other; `codec` has it as bytes. Arrays are
raw bytes already, little-endian float32."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

from app.wire.bound import Bound
from app.wire.model_info import ModelInfo
from app.wire.starts import Start
from diffusion.config import Variance
from diffusion.spacing import SamplerName


@dataclass(frozen=True)
class Load:
    """Load a checkpoint and keep it under the key `model`, beside what is loaded; the answers are
    Starting, again and again, then Loaded or Unusable.

    `name` is what clients call it. `sha256` are the weights that it must have; None: any. It
    computes at most `max_batch` rows at once; 0: as many as the engine chooses.
    """

    model: str
    checkpoint: str
    name: str
    sha256: str | None = None
    max_batch: int = 0


@dataclass(frozen=True)
class Unload:
    """Forget a model, of which no job is left, and give back its memory; the answer is Unloaded."""

    model: str


@dataclass(frozen=True)
class Submit:
    """A job: samples `indices` of `seed`, all by one sampler, of the model with the key `model`.

    `labels` has one entry for each index; None where the model is unconditional. `kept` are the
    timesteps as `Spacing` has them; None: `steps` at even distances. Chains begin at `start`; None:
    at noise. `steps` counts all that a chain takes, also where it goes back up. A job that
    `is_encoding` takes the start's pictures, as they are, up along DDIM's steps. One with a `bound`
    computes a term of it with each sample, in one step. `guided` are the
    first position whose step is guided, the first after it whose is not, and so on; None: all steps
    are. `shown` are the positions 0..steps of the chain whose states are sent as frames (`steps`:
    the result, which comes as `Finished`). The engine's time is shared evenly between clients; one
    that has jobs on `spread` engines gets so much less of each. A job that `is_alone` shares no
    batch with others. `waited` are the seconds that it has lost to engines that died. `request_id`
    is its name in log lines. `made_by` is the only maker whose bytes will do; None: anybody's do.
    """

    id: str
    model: str
    seed: int
    indices: tuple[int, ...]
    labels: tuple[int, ...] | None
    sampler: SamplerName
    steps: int
    eta: float = 0.0
    variance: Variance = "fixed_small"
    guidance: float = 0.0
    shown: tuple[int, ...] = ()
    client: str = ""
    is_alone: bool = False
    waited: float = 0.0
    request_id: str = ""
    kept: tuple[int, ...] | None = None
    guided: tuple[int, ...] | None = None
    spread: int = 1
    start: Start | None = None
    is_encoding: bool = False
    bound: Bound | None = None
    made_by: str | None = None

    @property
    def guided_steps(self) -> Collection[int]:
        """The positions of the steps that are guided: each asks the network twice."""
        if not self.guidance:
            return range(0)
        if self.guided is None:
            return range(self.steps)
        stretches = [range(*self.guided[i : i + 2]) for i in range(0, len(self.guided), 2)]
        return stretches[0] if len(stretches) == 1 else frozenset(chain.from_iterable(stretches))

    @property
    def chain_rows(self) -> int:
        """Network rows of one chain over all its steps."""
        return self.steps + len(self.guided_steps)

    @property
    def cost(self) -> int:
        """Network rows over the job's whole life."""
        return len(self.indices) * self.chain_rows

    def only(self, places: Sequence[int]) -> "Submit":
        """The job with some of its samples alone: those at these places of `indices`."""
        labels, start = self.labels, self.start
        return dataclasses.replace(
            self,
            indices=tuple(self.indices[place] for place in places),
            labels=None if labels is None else tuple(labels[place] for place in places),
            start=None if start is None else start.only(places),
        )


@dataclass(frozen=True)
class Cancel:
    """Forget a job at the next step."""

    id: str


@dataclass(frozen=True)
class Pause:
    """Leave a job's chains where they are until told otherwise, since its reader is behind."""

    id: str
    paused: bool


@dataclass(frozen=True)
class Charge:
    """Count the engine's time for a job as this client's from now on: of several that wait for it,
    the one that comes first in line."""

    id: str
    client: str


@dataclass(frozen=True)
class Starting:
    """What an engine does to load a model: `step` in words, of which `done` of `total` parts are
    begun; `total` is 0 where it has none that can be counted."""

    model: str
    step: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.step} {self.done} of {self.total}" if self.total else self.step


@dataclass(frozen=True)
class Loaded:
    """A model is loaded and warm. It took `seconds`, and takes about `memory_bytes` of the memory
    of the engine's device."""

    model: str
    info: ModelInfo
    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Unusable:
    """A model could not be loaded; the others go on. `has_changed`: its weights are not those that
    it must have, so another try is of no use."""

    model: str
    reason: str
    has_changed: bool = False


@dataclass(frozen=True)
class Unloaded:
    """A model is forgotten."""

    model: str


@dataclass(frozen=True)
class Frame:
    """The state at a shown position of one chain before its last: x_t and x0_hat(x_t, t), float32
    (C,H,W)."""

    id: str
    index: int
    position: int
    x_t: bytes
    x_0_hat: bytes


@dataclass(frozen=True)
class Finished:
    """One chain's x_0, float32 (C,H,W). Where the last position is shown, this is its frame: both
    of its pictures are x_0."""

    id: str
    index: int
    x_0: bytes


@dataclass(frozen=True)
class Measured:
    """A term of the bound of one picture is computed, which is a sample of its job: at the paper's
    t, in nats, and how many terms it stands for; and the picture's L_T. x_t and x0_hat(x_t, t) are
    float32 (C,H,W)."""

    id: str
    index: int
    t: int
    nats: float
    weight: float
    prior_nats: float
    x_t: bytes
    x_0_hat: bytes


@dataclass(frozen=True)
class Done:
    """All chains of a job are finished. Tells the seconds from its submission to its first step,
    and from there to its last."""

    id: str
    queue_seconds: float
    run_seconds: float


@dataclass(frozen=True)
class Failed:
    """A job cannot be finished; its neighbours go on."""

    id: str
    reason: str


@dataclass(frozen=True)
class Limited:
    """Memory ran out in a step; batches of the model have at most this many rows from now on."""

    model: str
    max_rows: int


@dataclass(frozen=True)
class Counts:
    """Steps of a model taken in batches of one size since the last such message: their number, the
    rows in them without the padding, their seconds, and the chains that had to make room for
    others."""

    model: str
    batch_size: int
    steps: int
    rows: int
    seconds: float
    preemptions: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.model,
            self.batch_size,
            self.steps + other.steps,
            self.rows + other.rows,
            self.seconds + other.seconds,
            self.preemptions + other.preemptions,
        )


Event = Frame | Finished | Measured | Done | Failed
Message = (
    Load
    | Unload
    | Submit
    | Cancel
    | Pause
    | Charge
    | Starting
    | Loaded
    | Unusable
    | Unloaded
    | Limited
    | Counts
    | Event
)
