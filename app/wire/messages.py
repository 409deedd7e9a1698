"""What the API process and an engine process tell each other.

On the wire: a 4-byte big-endian length, then a msgpack map of the message's fields and its class
name. Arrays travel as raw bytes, little-endian float32. Nothing is pickled.
"""

import dataclasses
import struct
from dataclasses import dataclass
from typing import Any

import msgpack

from diffusion.config import Variance
from diffusion.spacing import SamplerName

HEADER = struct.Struct(">I")


@dataclass(frozen=True)
class Submit:
    """A job: samples `indices` of `seed`, all by one sampler.

    `labels` has one entry an index; None where the model is unconditional. `shown` are the
    positions 0..steps of the chain whose states are sent as frames (steps: the result). The
    engine's time is shared evenly between clients; `is_alone`: the job shares no batch with others.
    `waited`: seconds that it has lost to engines that died. `request_id` is what log lines call it.
    """

    id: str
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

    @property
    def rows(self) -> int:
        """Network rows a step of one of its chains: guidance asks the network twice."""
        return 2 if self.guidance else 1

    @property
    def cost(self) -> int:
        """Network rows over its whole life."""
        return len(self.indices) * self.steps * self.rows


@dataclass(frozen=True)
class Cancel:
    """Forget a job at the next step."""

    id: str


@dataclass(frozen=True)
class Pause:
    """Leave a job's chains where they are until told otherwise: its reader is behind."""

    id: str
    paused: bool


@dataclass(frozen=True)
class Ready:
    """The model is loaded and warm."""

    model: dict[str, Any]


@dataclass(frozen=True)
class Unusable:
    """The engine could not start, and is about to end."""

    reason: str


@dataclass(frozen=True)
class Frame:
    """The state at a shown position of one chain: x_t and x0_hat(x_t, t), float32 (C,H,W)."""

    id: str
    index: int
    position: int
    x_t: bytes
    x_0_hat: bytes


@dataclass(frozen=True)
class Finished:
    """One chain's x_0, float32 (C,H,W)."""

    id: str
    index: int
    x_0: bytes


@dataclass(frozen=True)
class Done:
    """All chains of a job are finished. Seconds from submission to its first step, and from there
    to its last."""

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
    """Memory ran out in a step; batches have at most this many rows from now on."""

    max_rows: int


@dataclass(frozen=True)
class Counts:
    """Steps taken in batches of one size since the last such message: how many, the rows in them
    without the padding, the seconds, and the chains that had to make room for others."""

    batch_size: int
    steps: int
    rows: int
    seconds: float
    preemptions: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.batch_size,
            self.steps + other.steps,
            self.rows + other.rows,
            self.seconds + other.seconds,
            self.preemptions + other.preemptions,
        )


Event = Frame | Finished | Done | Failed
Message = Submit | Cancel | Pause | Ready | Unusable | Limited | Counts | Event
KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        Submit, Cancel, Pause, Ready, Unusable, Limited, Counts, Frame, Finished, Done, Failed,
    )
}  # fmt: skip


def encode(message: Message) -> bytes:
    """One message as it goes over the wire."""
    fields = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    body: bytes = msgpack.packb({**fields, "kind": type(message).__name__})
    return HEADER.pack(len(body)) + body


def decode(body: bytes) -> Message:
    """The inverse, without the length."""
    fields = msgpack.unpackb(body, use_list=False)
    return KINDS[fields.pop("kind")](**fields)
