"""What an engine might say of its model, for tests that have no engine."""

from app.wire.model_info import ModelInfo

MODEL = ModelInfo(
    name="m",
    image_shape=(3, 8, 8),
    num_timesteps=100,
    min_timestep=0,
    schedule="linear",
    alpha_bar_T=0.01,
    alpha_bar=tuple(0.01 ** (t / 100) for t in range(101)),
    variance="fixed_large",
    clip=1.0,
    classes=("cat", "dog"),
    null_label=2,
    sha256="0",
    fingerprint="0",
    source=None,
    revision=None,
    data=None,
    command=None,
    trained={"steps": 10},
    quality={},
    recommended={"sampler": "unipc", "steps": 4, "spacing": "tuned"},
    tuned={"unipc": {"4": (100, 70, 30, 5)}},
    parameters=1000,
    runtime="eager",
    precision="float32",
    precision_reason="float32 was asked for",
    device="cpu",
    batch_sizes=(4, 8),
    step_seconds={"4": 0.01, "8": 0.02},
    batch_invariant=True,
    seconds_per_row=0.0025,
)
"""A class-conditional model of 8x8 colour images."""
