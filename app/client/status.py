"""What a server says of its jobs and models, which can be copied and pickled, and shown."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from app.client import display


@dataclass(frozen=True, repr=False)
class Job:
    """A job's status at the time that the server sent it.

    `done` of `total` samples are made and stored, `rate` of them per second, and about `left_s`
    seconds are left at that rate. Both are None while nobody knows, which is at first, and again
    after a restart of the server. `detail` says why the job failed, or what
    it waits for.
    """

    id: str
    kind: Literal["sample", "denoise-trajectory"]
    model: str
    seed: int
    sampler: str
    steps: int
    status: Literal["waiting", "running", "finished", "failed", "expired"]
    detail: str | None
    total: int
    done: int
    rate: float | None
    left_s: float | None
    created_at: datetime
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Job({self.id}: {self.kind} of {self.model}, seed {self.seed}, {self.state})"

    def _repr_html_(self) -> str:
        bar = display.progress(self.done, self.total)
        what = f"{self.kind} of {self.model}, seed {self.seed}, {self.sampler}"
        rows = [("job", self.id), ("what", what), ("state", self.state)]
        return f"{bar}{display.table(rows)}"

    @property
    def state(self) -> str:
        """The status in words, with what is done, what is left, and `detail`."""
        left = "" if self.left_s is None else f", about {display.duration(self.left_s)} left"
        detail = "" if self.detail is None else f": {self.detail}"
        return f"{self.status}, {self.done} of {self.total} done{left}{detail}"


@dataclass(frozen=True, repr=False)
class Model:
    """A model that the server serves, and how it runs it.

    `image_shape` is (C,H,W), `num_timesteps` is T, `alpha_bar` has a value for each t = 0..T (1 at
    t = 0). `classes` has the labels' names and is empty for an unconditional model. `sha256` is of
    the weights file. `recommended` has the sampler, steps, spacing and guidance that the model's
    card recommends, as far as it does. `limits` has the limits of a request by name.
    """

    name: str
    image_shape: list[int]
    num_timesteps: int
    schedule: str
    alpha_bar: list[float]
    variance: str
    classes: list[str]
    null_label: int | None
    parameters: int
    sha256: str
    data: str | None
    command: str | None
    trained: dict[str, Any]
    quality: dict[str, Any]
    runtime: str
    precision: str
    device: str
    batch_invariant: bool
    recommended: dict[str, Any]
    limits: dict[str, int]

    def __repr__(self) -> str:
        return f"Model({self.name}: {self._image}, {self._classes}, {self._runs})"

    def _repr_html_(self) -> str:
        rows = [
            ("model", self.name),
            ("image", self._image),
            ("labels", self._classes),
            ("parameters", f"{self.parameters:,}"),
            ("steps", f"T = {self.num_timesteps}"),
            ("trained on", self.data or "unknown"),
            ("runs", self._runs),
            ("weights", f"SHA-256 {self.sha256[:8]}…"),
        ]
        return display.table(rows)

    @property
    def _image(self) -> str:
        channels, height, width = self.image_shape
        return f"{width} x {height}, {'grey' if channels == 1 else 'RGB'}"

    @property
    def _classes(self) -> str:
        return display.number_of(len(self.classes), "label") if self.classes else "no labels"

    @property
    def _runs(self) -> str:
        return f"{self.runtime} in {self.precision} on {self.device}"


@dataclass(frozen=True, repr=False)
class ServedModel:
    """One of a server's models. A request for one that is `unloaded` loads it, and waits for that.

    `default` says whether it is the one that requests get which name none. `detail` says what is
    being done while it loads, or why it could not be loaded. `model` is None until it has been
    loaded once.
    """

    name: str
    default: bool
    state: Literal["ready", "loading", "unloaded"]
    detail: str | None
    model: Model | None

    def __repr__(self) -> str:
        detail = "" if self.detail is None else f": {self.detail}"
        return f"ServedModel({self.name}, {self.state}{detail})"

    def _repr_html_(self) -> str:
        state = self.state if self.detail is None else f"{self.state}: {self.detail}"
        described = "" if self.model is None else self.model._repr_html_()
        return f"{display.table([('name', self.name), ('state', state)])}{described}"


@dataclass(frozen=True)
class Transfer:
    """Progress of a download: bytes that are on disk, and their total, or None if it is unknown."""

    done: int
    total: int | None
