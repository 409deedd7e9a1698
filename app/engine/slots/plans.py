"""What the host knows of chains that have a slot: their samples, and all steps of their plans.

All of it lies in a few arrays, so that what a batch of hundreds of rows needs is looked up at
once."""

import math
from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
import numpy.typing as npt

from app.engine.job import Chain, Job
from app.engine.slots.buffers import COEFFICIENTS, PLAN

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Known(IntEnum):
    """What is known of the chain in a slot: the columns of `Plans.known`."""

    SEED = 0
    INDEX = auto()
    LABEL = auto()
    FIRST = auto()  # the row of its plan's first step
    STEPS = auto()  # of its plan
    POSITION = auto()  # steps that have begun
    FRESH = auto()  # 1: it begins at noise
    PICTURE = auto()  # the place of what is known of its image; -1: nothing is


@dataclass(slots=True)
class Rows:
    """A stretch of the plans' rows: a job's."""

    first: int
    count: int
    chains: int = 0  # that have a slot


class Plans:
    """The chains in `num_slots` slots, and the plans of their jobs. Of `num_known` chains a part of
    the image may be known; `clip` is the network's limit of x_0_hat."""

    def __init__(self, num_slots: int, num_known: int, clip: float | None) -> None:
        self.known: Ints = np.zeros((num_slots, len(Known)), np.int64)
        self.t: Ints = np.zeros(0, np.int64)
        self.coefficients: Floats = np.zeros((0, PLAN), np.float32)
        self._slots: dict[Chain, int] = {}
        self._empty = list(reversed(range(num_slots)))
        self._unknown = list(reversed(range(num_known)))
        self._limit = math.inf if clip is None else clip
        self._of_jobs: dict[Job, Rows] = {}
        self._unused: list[Rows] = []

    def __len__(self) -> int:
        """The number of chains that have a slot."""
        return len(self._slots)

    def seat(self, chain: Chain) -> bool:
        """Give a chain a slot, unless it has one. False: there is none."""
        if chain in self._slots:
            return True
        if not self._empty or (chain.is_masked and not self._unknown):
            return False
        picture = self._unknown.pop() if chain.is_masked else -1
        slot = self._slots[chain] = self._empty.pop()
        job = chain.job
        rows = self._of_jobs.get(job) or self._write(job)
        rows.chains += 1
        label = 0 if chain.label is None else chain.label
        first, steps = rows.first + chain.first, job.num_steps
        named = job.seed, chain.noise_index, label, first, steps
        self.known[slot] = *named, 0, job.begins is None, picture
        return True

    def leave(self, chain: Chain) -> None:
        """Free the slot of a chain, if it has one: the next one in it comes behind all that has
        begun."""
        slot = self._slots.pop(chain, None)
        if slot is None:
            return
        self._empty.append(slot)
        if chain.is_masked:
            self._unknown.append(int(self.known[slot, Known.PICTURE]))
        rows = self._of_jobs[chain.job]
        rows.chains -= 1
        if not rows.chains:
            self._unused.append(self._of_jobs.pop(chain.job))

    def slots(self, chains: list[Chain]) -> Ints:
        """The slots of chains that have one, (B,)."""
        return np.array([self._slots[chain] for chain in chains], np.int64)

    def steps(self, slots: Ints, count: int) -> Ints:
        """The rows of plans that chains take in their next steps, (count, B); behind the last step
        of a plan the last."""
        known = self.known[slots]
        ahead = known[:, Known.POSITION] + np.arange(count)[:, None]
        rows: Ints = known[:, Known.FIRST] + np.minimum(ahead, known[:, Known.STEPS] - 1)
        return rows

    def _write(self, job: Job) -> Rows:
        """Write down a job's plan."""
        S = len(job.table)
        rows = self._of_jobs[job] = self._room(S)
        here = slice(rows.first, rows.first + S)
        self.t[here] = job.table.t.numpy()
        self.coefficients[here, :COEFFICIENTS] = job.table.rows.numpy().reshape(S, COEFFICIENTS)
        # 1 + w and w, rounded once, where the step is guided
        self.coefficients[here, COEFFICIENTS:] = 1.0, 0.0, self._limit
        guided = rows.first + np.fromiter(job.guided, np.int64)
        self.coefficients[guided, COEFFICIENTS : COEFFICIENTS + 2] = 1 + job.guidance, job.guidance
        return rows

    def _room(self, count: int) -> Rows:
        """Rows that no plan uses: the first stretch that is long enough, else new ones."""
        self._unused = _joined(self._unused)
        for stretch in self._unused:
            if stretch.count >= count:
                rows = Rows(stretch.first, count)
                stretch.first += count
                stretch.count -= count
                return rows
        end = len(self.t)
        more = max(count, end)  # twice as many
        self.t = np.concatenate([self.t, np.zeros(more, np.int64)])
        self.coefficients = np.concatenate([self.coefficients, np.zeros((more, PLAN), np.float32)])
        self._unused.append(Rows(end + count, more - count))
        return Rows(end, count)


def _joined(stretches: list[Rows]) -> list[Rows]:
    """Put stretches that touch together, the first rows first."""
    joined: list[Rows] = []
    for stretch in sorted(stretches, key=lambda rows: rows.first):
        if not stretch.count:
            continue
        if joined and joined[-1].first + joined[-1].count == stretch.first:
            joined[-1].count += stretch.count
        else:
            joined.append(stretch)
    return joined
