"""The client's operations on models, as flows: see `flows`."""

from urllib.parse import quote

from app.client import reading
from app.client.calls import answered
from app.client.effects import Call, Emit, Flow
from app.client.errors import Unavailable
from app.client.patience import Patience
from app.client.status import Model, ServedModel


def model(name: str | None, patience: Patience) -> Flow[Model]:
    """GET /model, or the description of the model with that name."""
    if name is None:
        answer = yield from answered(Call("GET", "/model"), patience)
        yield Emit(reading.read_model(answer.content))
        return
    answer = yield from answered(Call("GET", _path(name)), patience)
    served = reading.read_served_model(answer.content)
    if served.model is None:
        reason = "" if served.detail is None else f": {served.detail}"
        raise Unavailable(503, "Not available", f"the model {name!r} is {served.state}{reason}")
    yield Emit(served.model)


def models(patience: Patience) -> Flow[tuple[ServedModel, ...]]:
    """GET /models."""
    answer = yield from answered(Call("GET", "/models"), patience)
    yield Emit(reading.read_models(answer.content))


def load(name: str, checkpoint: str | None, patience: Patience) -> Flow[ServedModel]:
    """POST /models/{name}."""
    body = {} if checkpoint is None else {"checkpoint": checkpoint}
    answer = yield from answered(Call("POST", _path(name), body=body), patience)
    yield Emit(reading.read_served_model(answer.content))


def unload(name: str, patience: Patience) -> Flow[ServedModel]:
    """DELETE /models/{name}."""
    answer = yield from answered(Call("DELETE", _path(name)), patience)
    yield Emit(reading.read_served_model(answer.content))


def _path(name: str) -> str:
    """The path of a model. Raises ValueError for what names none."""
    if not isinstance(name, str) or name in ("", ".", ".."):  # of which paths would be others
        raise ValueError(f"name: {name!r} is not allowed: it must be a model's name")
    return f"/models/{quote(name, safe='')}"
