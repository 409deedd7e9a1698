"""How many bits pictures take: the request for the variational bound, and its result."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from PIL import Image

from app.client.calls import answered, post
from app.client.effects import Emit, Flow
from app.client.errors import BrokenAnswer
from app.client.patience import Patience
from app.client.pictures import Picture, each
from app.client.reading import read_object
from app.client.results import decode_png
from app.client.values import plain


@dataclass(frozen=True, kw_only=True)
class BoundRequest:
    """Asks how many bits a model needs for pictures, term by term (eq. 5).

    `images` is a picture, or several; `labels` are theirs, one for all or one each. `terms` are
    computed of each, 40 unless given, spread over the chain; or those at `timesteps`, counted as in
    the paper. The same `seed` gives the same numbers; the server draws one and names it. `variance`
    is the checkpoint's unless given. With `resize` pictures of other sizes are scaled, and cut in
    the middle.
    """

    images: Picture | Sequence[Picture]
    labels: int | Sequence[int] | None = None
    terms: int | None = None
    timesteps: Sequence[int] | None = None
    seed: int | None = None
    variance: Literal["fixed_small", "fixed_large"] | None = None
    resize: bool = False
    model: str | None = None

    def body(self) -> dict[str, Any]:
        """Build the JSON object to send. Raises as `SampleRequest.body` does."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        del given["images"]
        others = {name: plain(name, value) for name, value in given.items() if value is not None}
        return {"images": each("images", self.images), **others}


@dataclass(frozen=True)
class Term:
    """A term of the bound in bits per dimension, by one draw of x_t, and how many terms of the
    chain it stands for; with the picture at t, and what the model expects from that."""

    t: int
    bits_per_dim: float
    weight: float
    x_t: Image.Image
    x0_hat: Image.Image


@dataclass(frozen=True)
class Bound:
    """The bound of one picture in bits per dimension; None where the terms are but some of them."""

    label: int | None
    bits_per_dim: float | None
    standard_error: float | None
    L_T: float
    L_0: float | None
    terms: tuple[Term, ...]

    def __repr__(self) -> str:
        return f"Bound(bits_per_dim={self.bits_per_dim}, {len(self.terms)} terms)"


@dataclass(frozen=True)
class Bounds:
    """The bound of each picture, in their order."""

    model: str
    seed: int
    images: tuple[Bound, ...]


def bound(request: BoundRequest, patience: Patience) -> Flow[Bounds]:
    """POST /bound."""
    if not isinstance(request, BoundRequest):
        raise ValueError(f"request: {request!r} is not allowed: bound takes a BoundRequest")
    answer = yield from answered(post("/bound", request), patience)
    yield Emit(read_bounds(answer.content))


def read_bounds(content: bytes) -> Bounds:
    """Read a JSON answer of /bound. Raises BrokenAnswer when it is damaged."""
    body = read_object(content)
    try:
        return Bounds(body["model"], body["seed"], tuple(map(_bound, body["images"])))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BrokenAnswer(f"not the bound of pictures: {error!r}") from error


def _bound(entry: Mapping[str, Any]) -> Bound:
    terms = tuple(map(_term, entry["terms"]))
    totals = entry["bits_per_dim"], entry["standard_error"], entry["L_T"], entry["L_0"]
    return Bound(entry["label"], *totals, terms)


def _term(entry: Mapping[str, Any]) -> Term:
    x_t, x0_hat = (decode_png(base64.b64decode(entry[name])) for name in ("x_t", "x0_hat"))
    return Term(entry["t"], entry["bits_per_dim"], entry["weight"], x_t, x0_hat)
