"""Answers in the form of /bound, for a server that lacks it: the noise is numpy's, and the network
guesses that the picture is what it sees."""

import base64
import io
import json
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, Route


def offer(page: Page, alpha_bar: list[float]) -> None:
    """Answer for the server at /bound."""

    def openapi(route: Route) -> None:
        document = route.fetch().json()
        document["paths"]["/bound"] = {}
        route.fulfill(json=document)

    def bound(route: Route) -> None:
        body: dict[str, Any] = route.request.post_data_json or {}
        x_0, T = picture(body["images"]), len(alpha_bar) - 1
        times = np.linspace(1, T, body["terms"]).round().astype(int).tolist()
        events = [("term", term(x_0, alpha_bar[t], t)) for t in times]
        total = {"bits_per_dim": 1.5, "standard_error": 0.02, "L_T": 0.1, "L_0": 0.4}
        events.append(("done", {"seed": body["seed"], "images": [total]}))
        route.fulfill(body=written(events), content_type="text/event-stream")

    page.route("**/openapi.json", openapi)
    page.route("**/bound", bound)


def written(events: list[tuple[str, dict[str, Any]]]) -> str:
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)


def picture(png: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A grey picture, (1,H,W) in [-1, 1]."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("L")
    return np.asarray(image, np.float32)[None] / 127.5 - 1


def state(x_0: Any, alpha_bar: float, t: int) -> tuple[Any, Any]:
    """x_t, and what the network makes of it."""
    eps = np.random.default_rng(t).standard_normal(x_0.shape)
    x_t = (alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * eps).astype(np.float32)
    return x_t, x_t.clip(-1, 1)


def term(x_0: Any, alpha_bar: float, t: int) -> dict[str, Any]:
    """A term of the bound."""
    x_t, x0_hat = state(x_0, alpha_bar, t)
    pngs = {"x_t": png(x_t), "x0_hat": png(x0_hat)}
    return {"index": 0, "t": t, "bits_per_dim": 0.4 if t == 1 else 0.02, **pngs}


def png(x: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(((x[0].clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
