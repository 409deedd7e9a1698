"""Who makes the same bytes: what runs on an engine, and on what kind of machine.

One name for all that must know: the ETag of an answer, the cache, jobs, and Idempotency-Keys.
"""

from app.wire.model_info import ModelInfo


def maker(model: ModelInfo) -> str:
    """Who makes the same bytes: the weights and what else of the checkpoint decides, how they are
    run, and on what kind of machine."""
    return f"{_recipe(model)} {_device(model)} {model.machine}"


def names(model: ModelInfo) -> tuple[str, ...]:
    """The maker, and what older servers called it in their rows: without the kind of machine, and
    before that with the model's name instead of its fingerprint."""
    older = f"{_recipe(model)} {_device(model)}"
    oldest = f"{model.name} {model.sha256} {model.runtime} {model.precision} {_device(model)}"
    return maker(model), older, oldest


def can_go_on(made_by: str | None, model: ModelInfo) -> bool:
    """Does an engine that says this of its model make the bytes of a maker? None: of anybody."""
    return made_by is None or made_by in names(model)


def has_weights_of(made_by: str, model: ModelInfo) -> bool:
    """Is the model the one that this maker has, run in the same way, on whatever machine?"""
    oldest = f"{model.name} {model.sha256} {model.runtime} {model.precision}"
    return made_by.startswith((f"{_recipe(model)} ", f"{oldest} "))


def _recipe(model: ModelInfo) -> str:
    return f"{model.sha256} {model.fingerprint} {model.runtime} {model.precision}"


def _device(model: ModelInfo) -> str:
    return model.device.partition(":")[0]
