"""From an answer's bytes to the results that a client returns."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

import numpy as np

from app.client.errors import BrokenAnswer
from app.client.results import Encoding, Frame, Sample, Samples, Trajectories, decode_png
from app.client.status import Job, Model, ServedModel

T = TypeVar("T")


def read_samples(content: bytes) -> Samples:
    """Read a JSON answer of /sample. Raises BrokenAnswer when it is damaged, which includes a PNG
    that does not match its SHA-256."""
    body = read_object(content)
    try:
        samples = tuple(_sample(entry) for entry in body["samples"])
        return _pick(Samples, {**body, **body["timing"], "samples": samples})
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswer(f"not a list of samples: {error!r}") from error


def read_trajectories(content: bytes, seed: int) -> Trajectories:
    """Read an npz answer of /denoise-trajectory. Raises BrokenAnswer when it is damaged."""
    try:
        # A pickle could run code that the server, or who pretends to be it, has chosen.
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _pick(Trajectories, {"seed": seed, **arrays})
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        # RuntimeError: zipfile's for flags and methods that it cannot read
        raise BrokenAnswer(f"not an npz archive: {error!r}") from error


def read_encoding(content: bytes) -> Encoding:
    """Read an npz answer of /encode. Raises BrokenAnswer when it is damaged."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Encoding(int(arrays["t"]), arrays["x_t"])
    except (ValueError, OSError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile) as error:
        raise BrokenAnswer(f"not an npz archive of x_t: {error!r}") from error


def read_frame(data: str, seed: int) -> Frame:
    """Read the data of a `frame` event. Raises BrokenAnswer when it is damaged."""
    body = read_object(data)
    try:
        pictures = {name: decode_png(base64.b64decode(body[name])) for name in ("x_t", "x0_hat")}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BrokenAnswer(f"not a frame: {error!r}") from error
    return _pick(Frame, {**body, **pictures, "seed": seed})


def read_job(content: bytes | str) -> Job:
    """Read a job's status in JSON. Raises BrokenAnswer when it is none."""
    body = read_object(content)
    try:
        dates = {name: datetime.fromisoformat(body[name]) for name in ("created_at", "expires_at")}
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswer(f"not a job: {error!r}") from error
    return _pick(Job, {**body, **dates})


def read_model(content: bytes) -> Model:
    """Read the answer of GET /model. Raises BrokenAnswer when it is no model."""
    return _pick(Model, read_object(content))


def read_models(content: bytes) -> tuple[ServedModel, ...]:
    """Read the answer of GET /models. Raises BrokenAnswer when it is no list of models."""
    entries = read_object(content).get("models")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BrokenAnswer("not a list of models: is the server of another version?")
    return tuple(map(_served_model, entries))


def read_served_model(content: bytes) -> ServedModel:
    """Read the answer of GET /models/{name}. Raises BrokenAnswer when it is no such model."""
    return _served_model(read_object(content))


def read_object(content: bytes | str) -> dict[str, Any]:
    """Read a JSON object. Raises BrokenAnswer for anything else."""
    try:
        body = json.loads(content)
    except ValueError as error:
        raise BrokenAnswer(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BrokenAnswer(f"not a JSON object: {str(body)[:80]}")
    return body


def _pick(kind: type[T], body: Mapping[str, Any]) -> T:
    """Build a data class from an object. Other fields are ignored: a newer server may send more."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    missing = [name for name in names if name not in body]
    if missing:
        what = f"{kind.__name__} without {', '.join(missing)}"
        raise BrokenAnswer(f"{what}: is the server of another version?")
    return kind(**{name: body[name] for name in names})


def _served_model(entry: Mapping[str, Any]) -> ServedModel:
    described = entry.get("model")
    model = _pick(Model, described) if isinstance(described, dict) else None
    return _pick(ServedModel, {**entry, "model": model})


def _sample(entry: Mapping[str, Any]) -> Sample:
    png = base64.b64decode(entry["png"])
    if hashlib.sha256(png).hexdigest() != entry["sha256"]:
        reason = "it was damaged on its way: its SHA-256 does not match"
        raise BrokenAnswer(f"image {entry['index']}: {reason}")
    return Sample(entry["index"], entry["label"], png)
