"""Three networks in one engine under mixed load, one of them replaced and one unloaded and loaded
again meanwhile: every byte is as from an engine with that model alone."""

import random
from pathlib import Path

import pytest

from app.wire.messages import Done, Finished, Load, Loaded, Submit, Unload, Unloaded
from diffusion.spacing import SamplerName
from tests.app.engine.running import Running
from tests.tiny import save_tiny

SAMPLERS: tuple[SamplerName, ...] = ("ddpm", "ddim", "dpmpp", "unipc", "ipndm")
MODELS = ("grey", "colour", "large")
JOBS = 8
"""Of each model."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("three")
    return {
        "grey": save_tiny(parent / "grey"),
        "colour": save_tiny(parent / "colour", num_classes=3, null_label=True, channels=3),
        "large": save_tiny(parent / "large", size=16, prediction="v"),
    }


def jobs(model: str) -> list[Submit]:
    """Jobs of all kinds, of several clients."""
    draw, made = random.Random(model), []
    for k in range(JOBS):
        n = draw.randint(1, 5)
        labels = tuple(draw.randint(0, 2) for _ in range(n)) if model == "colour" else None
        made.append(
            Submit(
                f"{model} {k}", model, draw.randint(0, 2**53 - 1), tuple(range(n)), labels,
                draw.choice(SAMPLERS), draw.randint(1, 20),
                guidance=draw.choice([0.0, 1.5]) if labels else 0.0,
                client=draw.choice("abc"), is_alone=draw.random() < 0.1,
            )
        )  # fmt: skip
    return made


def collect(running: Running, asked: int) -> dict[tuple[str, int], bytes]:
    """The images of so many jobs, once they are done."""
    for _ in range(asked):
        running.hear(Done)
    return {(m.id, m.index): m.x_0 for m in running.told if isinstance(m, Finished)}


def alone(model: str, folder: Path, runtime: str) -> dict[tuple[str, int], bytes]:
    """What an engine makes of these jobs that has no other model."""
    with Running(runtime) as running:
        assert isinstance(running.load(model, folder), Loaded)
        running.ask(*jobs(model))
        return collect(running, JOBS)


def under_way(running: Running, folders: dict[str, Path]) -> dict[tuple[str, int], bytes]:
    """What an engine makes of all jobs, which come while its models change."""
    for model in MODELS:
        assert isinstance(running.load(model, folders[model]), Loaded)
    first = {model: jobs(model)[: JOBS // 2] for model in MODELS}
    for of_each in zip(*first.values(), strict=True):
        running.ask(*of_each)
    # "colour" is replaced by its like while its jobs run; "large" goes once its are done, and comes
    new = "colour again"
    running.ask(Load(new, str(folders["colour"]), "colour", max_batch=4))
    done = set[str]()
    while not done.issuperset(job.id for job in first["large"]):
        done.add(running.hear(Done).id)
    running.ask(Unload("large"))
    running.hear(Unloaded)
    running.hear(Loaded)
    assert isinstance(running.load("large", folders["large"]), Loaded)
    for job in (job for model in MODELS for job in jobs(model)[JOBS // 2 :]):
        running.ask(Submit(**{**vars(job), "model": new if job.model == "colour" else job.model}))
    return collect(running, len(MODELS) * JOBS - len(done))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["eager", pytest.param("openvino", marks=pytest.mark.slow)])
def test_every_byte_is_as_from_an_engine_of_that_model_alone(
    runtime: str, folders: dict[str, Path]
) -> None:
    expected: dict[tuple[str, int], bytes] = {}
    for model, folder in folders.items():
        expected |= alone(model, folder, runtime)
    with Running(runtime) as running:
        made = under_way(running, folders)
        assert not running.engine.scheduler.jobs
        assert not any(len(network.board) for network in running.engine.networks.values())
    assert made == expected
