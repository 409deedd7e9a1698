"""What defines a model and its training run: frozen, validated dataclasses, read from TOML.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from diffusion.fields import ConfigError, from_dict, require
from diffusion.json_file import read_text
from diffusion.networks.config import NetworkConfig
from diffusion.presets import PRESETS
from diffusion.unet_config import MAX_SIDE, UNetConfig

Schedule = Literal["linear", "scaled_linear", "cosine", "sigmoid", "laplace", "log_snr", "table"]
Variance = Literal["fixed_small", "fixed_large", "learned_range"]
Prediction = Literal["eps", "x_0", "v"]
RuntimeName = Literal["auto", "openvino", "eager"]
"""What runs the network: OpenVINO, or PyTorch operation by operation; `auto` chooses."""
Precision = Literal["float32", "bfloat16"]
"""The numbers that a network is computed in; bfloat16 has float32's range and 8 bits of digits."""
WeightsType = Literal["float32", "float16", "bfloat16"]
"""The numbers that weights are stored in; whatever they are, the network is loaded in float32."""
PrecisionName = Literal["auto", "float32", "bfloat16"]
"""A precision that is asked for; `auto` is bfloat16 where it is faster and measured to lose
nothing."""
FeaturesName = Literal["auto", "classifier", "inception", "efficientnet", "random"]
"""What an evaluation measures distances in; `auto` chooses."""
Crop = Literal["center", "random", "none", "pad"]
"""How a picture of another shape is brought to one size; see `DataConfig`."""
MAX_TIMESTEPS = 100_000
"""Steps of a chain, at most; the paper's has 1000."""
LabelMix = Literal["balanced", "data"]
"""How often an evaluation asks for each label: equally often, or as often as the data have it."""


@dataclass(frozen=True)
class ProcessConfig:
    """The forward process (eq. 1-2), and how it is reversed unless a request says otherwise.

    Without `beta_start` and `beta_end` the betas are the paper's, 1e-4 to 0.02, scaled by
    1000 / num_timesteps so that every chain ends in the same noise.
    """

    num_timesteps: int = 1000
    schedule: Schedule = "linear"
    beta_start: float | None = None
    beta_end: float | None = None
    log_snr_max: float = 12.5  # of schedule "log_snr": log SNR falls linearly from here
    log_snr_min: float = -9.0  # to here
    beta_table: tuple[float, ...] | None = None  # of schedule "table": beta of each step
    zero_terminal_snr: bool = False  # the betas are changed so that alpha_bar_T is 0
    variance: Variance = "fixed_small"  # sigma^2: beta~_t, beta_t, or learned between the two
    clip: float | None = 1.0  # x_0_hat is clipped to [-clip, clip]; None: not at all
    prediction: Prediction = "eps"  # what the network predicts: the paper's eps, x_0, or v

    def __post_init__(self) -> None:
        fits = 1 <= self.num_timesteps <= MAX_TIMESTEPS
        require(fits, "num_timesteps", self.num_timesteps, f"1..{MAX_TIMESTEPS}")
        for name in ("beta_start", "beta_end"):
            beta = getattr(self, name)
            require(beta is None or 0 < beta < 1, name, beta, "between 0 and 1")
        rises = (self.beta_start or 0) <= (self.beta_end or 1)
        require(rises, "beta_start", self.beta_start, f"at most beta_end {self.beta_end}")
        falls = -math.inf < self.log_snr_min < self.log_snr_max < math.inf
        require(falls, "log_snr_min", self.log_snr_min, f"below log_snr_max {self.log_snr_max}")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "above 0, or left out")
        if self.zero_terminal_snr:
            needs = "false where the network predicts eps: x_T is eps, whatever the image"
            require(self.prediction != "eps", "zero_terminal_snr", True, needs)
            require(self.num_timesteps > 1, "zero_terminal_snr", True, "false for a single step")
        if self.schedule == "table":
            length = len(self.beta_table or ())
            require(length == self.num_timesteps, "beta_table", f"{length} values", "one a step")


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained (Algorithm 1). The defaults are the paper's for CIFAR-10."""

    num_steps: int = 800_000
    batch_size: int = 128  # images in an optimiser step, over all workers
    accumulate: int = 1  # how many parts the batch is run in, to save memory
    learning_rate: float = 2e-4
    warmup_steps: int = 5000  # over which the learning rate rises linearly from 0
    decay: Literal["none", "cosine"] = "none"  # of the learning rate, to 0 at num_steps
    clip_norm: float = 1.0  # a longer gradient is shortened to this norm
    loss: Literal["simple", "hybrid", "bound"] = "simple"  # see diffusion.training.losses
    timesteps: Literal["uniform", "importance"] = "uniform"  # how t is drawn
    uniform_share: float = 0.001  # of the draws by importance, the share that stays uniform
    bound_weight: float = 0.001  # the weight of the bound in loss "hybrid"
    min_snr_gamma: float | None = None  # weights L_simple by min(SNR, gamma); 5 is usual
    ema_decay: float = 0.9999  # of the average of weights, which is what is exported
    # Steps between snapshots, of which `ddpm average` makes averages of any length; 0: none
    snapshot_every: int = 0
    label_dropout: float = 0.0  # the share of labels replaced by the null label, for guidance
    horizontal_flip: bool | tuple[str, ...] = True  # mirrors half of all images, or of classes
    shift: int = 0  # pixels by which images are moved at most, at random, down and across
    precision: Precision = "float32"  # of the forward pass
    channels_last: bool = True  # the memory layout in which convolutions are faster
    compile: bool = False  # with torch.compile, on a GPU; on a CPU it gains nothing
    log_every: int = 100  # steps between log lines
    sample_every: int = 5000  # steps between sample grids; 0: none
    save_every: int = 1000  # steps between saved states
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "accumulate", "log_every", "save_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_steps", "shift", "sample_every", "snapshot_every", "seed"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(self.seed < 2**63, "seed", self.seed, "below 2^63")
        share = self.uniform_share
        require(0 < share <= 1, "uniform_share", share, "above 0, at most 1")
        for name in ("learning_rate", "clip_norm", "bound_weight"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, value, "above 0")
        gamma = self.min_snr_gamma
        require(gamma is None or gamma > 0, "min_snr_gamma", gamma, "above 0, or left out")
        for name in ("ema_decay", "label_dropout"):
            value = getattr(self, name)
            require(0 <= value < 1, name, value, "0 or more and below 1")
        parts = self.batch_size % self.accumulate == 0
        require(parts, "accumulate", self.accumulate, f"a divisor of batch_size {self.batch_size}")


@dataclass(frozen=True)
class DataConfig:
    """The data set, and how its pictures become images of one size and number of channels.

    `crop` says how a picture gets to `size`: `center` and `random` scale it and cut the longer
    side, in the middle or at a place that follows from its name; `pad` fills up the shorter side
    with `background`; `none` scales both sides, and distorts.
    """

    path: str = "cifar10"  # a built-in data set, or a path
    size: int | tuple[int, int] | None = None  # side, or (H, W), in pixels; None: as they are
    crop: Crop = "center"
    background: str = "white"  # behind transparent pixels, and of padding; as CSS writes colours
    channels: int | None = None  # 1 or 3; None: what the network takes
    holdout: int | float = 0  # training images set aside as the test split: a share, or a count
    labels: str = "auto"  # auto, none, or the name of a table's column or an .npz's array

    def __post_init__(self) -> None:
        require(bool(self.path), "path", self.path, "a built-in data set or a path")
        sides = self.size_hw
        allowed = sides is None or all(1 <= side <= MAX_SIDE for side in sides)
        require(allowed, "size", self.size, f"1..{MAX_SIDE}, or two of them: [height, width]")
        require(self.channels in (None, 1, 3), "channels", self.channels, "1 or 3, or left out")
        share = 0 <= self.holdout < 1  # nothing but a share may have a fraction, or be no number
        fits = share or (self.holdout >= 1 and self.holdout % 1 == 0)
        require(fits, "holdout", self.holdout, "a share below 1, or a whole number of images")
        require(bool(self.labels), "labels", self.labels, "auto, none, or a name")

    @classmethod
    def from_text(cls, path: str) -> Self:
        """The data set at a path, all else as it is by default: `data = "mnist"`, in short."""
        return cls(path)

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """(H, W) in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class Config:
    """Everything that a training run is defined by. Raises ConfigError if its parts do not fit."""

    data: DataConfig = field(default_factory=DataConfig)  # a text is its path
    process: ProcessConfig = field(default_factory=ProcessConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.training.label_dropout and self.unet.num_class_embeds is None:
            raise ConfigError("label_dropout: needs num_class_embeds, one more than the classes")
        check_channels(self.unet, self.process)
        self.unet.check_labels()
        embedding = self.unet.time_embedding_type
        trained = "positional or learned, to be trained: t = 0 has no logarithm"
        require(embedding != "fourier", "time_embedding_type", embedding, trained)
        loss, learned = self.training.loss, self.process.variance == "learned_range"
        if loss == "hybrid":
            require(learned, "loss", loss, "simple or bound, where the variance is not learned")
        if learned:
            require(loss != "simple", "loss", loss, "hybrid or bound, to learn the variance")
        if self.training.timesteps == "importance":
            require(loss == "bound", "timesteps", "importance", "uniform, but with loss bound")
        if self.training.min_snr_gamma is not None:
            gamma = self.training.min_snr_gamma
            own = "left out with loss bound, which has its own weights"
            require(loss != "bound", "min_snr_gamma", gamma, own)
            zero = "left out with zero_terminal_snr: where SNR is 0, at t = T, its weight is 0 too"
            require(not self.process.zero_terminal_snr, "min_snr_gamma", gamma, zero)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a TOML file, in which the data, the network and `num_steps` must be given.

        Raises ConfigError naming the file and the field.
        """
        try:
            return cls.parse(read_text(path))
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read TOML, as `read` does a file. Raises ConfigError naming the line or the field."""
        try:
            values = tomllib.loads(text)
        # ValueError: no TOML, or a whole number of thousands of digits
        except (ValueError, RecursionError) as error:
            raise ConfigError(str(error)) from error
        return from_dict(cls, _complete(values))


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    """Put a preset's fields in its place.

    Raises ConfigError where a file leaves out what no default should decide: the data are one's
    own, the default network, diffusers', has 274 million parameters, and the paper trained for
    800,000 steps.
    """
    data, unet, training = (values.get(name, {}) for name in ("data", "unet", "training"))
    tables = isinstance(data, dict | str), isinstance(unet, dict), isinstance(training, dict)
    if not all(tables):
        return values  # refused for their types
    if "path" not in data and not isinstance(data, str):
        raise ConfigError("data.path: missing; give [data] a path, or the name of a data set")
    names = ", ".join(map(repr, PRESETS))
    if not unet.keys() & {"preset", "block_out_channels"}:
        raise ConfigError(
            f"unet: the network is missing; give [unet] a preset, one of {names}, or "
            "block_out_channels and the other fields"
        )
    if "num_steps" not in training:
        raise ConfigError("training.num_steps: missing; give [training] the number of steps")
    preset = unet.get("preset")
    require(preset in (None, *PRESETS), "unet.preset", preset, f"one of {names}")
    own = {name: value for name, value in unet.items() if name != "preset"}
    return {**values, "unet": {**(PRESETS[preset] if preset else {}), **own}}


def check_channels(unet: NetworkConfig, process: ProcessConfig) -> None:
    """Raise ConfigError unless the network gives as many channels as the variance needs.

    That is as many as it takes, or twice as many for a learned variance.
    """
    factor = 2 if process.variance == "learned_range" else 1
    allowed = f"{factor * unet.in_channels} for in_channels {unet.in_channels}, {process.variance}"
    fits = unet.out_channels == factor * unet.in_channels
    require(fits, "out_channels", unet.out_channels, allowed)
