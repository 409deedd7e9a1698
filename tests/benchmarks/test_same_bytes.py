"""benchmarks.same_bytes, on two servers that are a function each."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks import same_bytes
from benchmarks.same_bytes_requests import make_requests, read_content

LIMITS = {"max_samples": 16, "max_client_samples": 64, "max_frames": 8}
MODEL: dict[str, Any] = {
    "name": "tiny", "num_timesteps": 50, "classes": ["a", "b"], "null_label": 2, "sha256": "0" * 64,
    "runtime": "eager", "precision": "float32", "device": "cpu", "batch_invariant": True,
    "limits": LIMITS,
}  # fmt: skip
FIRST, SECOND = "http://first", "http://second"

Handler = Callable[[httpx.Request], httpx.Response]


def picture(*of: object) -> bytes:
    return hashlib.sha256(repr(of).encode()).digest()


def answer(body: dict[str, Any], path: str, accept: str, salt: object = "") -> bytes:
    """What a server could send; another `salt` makes the last image another one."""
    contents = [picture(body["seed"], k) for k in range(body["n"])]
    contents[-1] = picture(body["seed"], salt)
    texts = [base64.b64encode(content).decode() for content in contents]
    told = {"id": str(id(body)), "seed": body["seed"], "timing": {"compute_s": id(body)}}
    frames = [{"t": 50, "x_t": text, "x0_hat": text} for text in texts]
    if accept == "application/json" and path == "/sample":
        told["samples"] = [{"index": k, "png": text} for k, text in enumerate(texts)]
        return json.dumps(told).encode()
    if accept == "application/json":
        told["trajectories"] = [{"index": k, "frames": [f]} for k, f in enumerate(frames)]
        return json.dumps(told).encode()
    if accept == "text/event-stream":
        events = [("frame", {"index": k, **frame}) for k, frame in enumerate(frames)]
        lines = [f"event: {n}\ndata: {json.dumps(d)}\n\n" for n, d in [*events, ("done", told)]]
        return "".join(lines).encode()
    buffer = io.BytesIO()
    if accept == "application/zip":
        with zipfile.ZipFile(buffer, "w") as out:
            for k, content in enumerate(contents):
                out.writestr(zipfile.ZipInfo(f"{k:06d}.png"), content)
    elif accept == "application/x-npz":
        images = np.array([np.frombuffer(content, np.uint8) for content in contents])
        np.savez(buffer, images=images, index=np.arange(len(images)))
    else:
        buffer.write(b"".join(contents))
    return buffer.getvalue()


def server(salts: dict[str, str] | None = None, **model: Any) -> Handler:
    """Answers everything; `salts` by representation, `model` replaces fields of GET /model."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/model":
            return httpx.Response(200, json={**MODEL, **model})
        accept = request.headers["accept"]
        salt = (salts or {}).get(accept, "")
        content = answer(json.loads(request.content), request.url.path, accept, salt)
        return httpx.Response(200, content=content)

    return handle


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler, Handler], int]:
    """`main` on two servers, which are functions; returns its exit status."""
    connect = same_bytes.connect

    def run(first: Handler, second: Handler) -> int:
        handlers = {FIRST: first, SECOND: second}

        def to_function(url: str, timeout: float) -> httpx.Client:
            return connect(url, timeout, httpx.MockTransport(handlers[url]))

        monkeypatch.setattr(same_bytes, "connect", to_function)
        try:
            return same_bytes.main([FIRST, SECOND])
        except SystemExit as end:
            assert isinstance(end.code, int)
            return end.code

    return run


Compare = Callable[[Handler, Handler], int]


def test_equal_servers_are_the_same_in_all_40_answers(
    compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(server(), server()) == 0
    printed = capsys.readouterr().out
    assert "40 of 40 answers are the same" in printed
    assert "| 40 | /denoise-trajectory" in printed


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("application/json", "image 3"),
        ("application/zip", "000004.png"),
        ("application/x-npz", "images[4]"),
        ("text/event-stream", "x_t of image 2 at t = 50"),
        ("image/png", "the picture"),
        ("image/gif", "the picture"),
        ("image/webp", "the picture"),
        ("image/apng", "the picture"),
    ],
)
def test_one_other_image_is_found_in_every_representation_and_named(
    compare: Compare, capsys: pytest.CaptureFixture[str], accept: str, name: str
) -> None:
    assert compare(server(), server({accept: "other"})) == 1
    rows = [row for row in capsys.readouterr().out.splitlines() if "| different: " in row]
    assert rows and all(f"| {accept} |" in row for row in rows), "and in no other"
    assert any(f"different: {name}" in row for row in rows)


def test_an_answer_that_a_server_refuses_is_a_difference_with_its_reason(
    compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] == "image/gif":
            return httpx.Response(406, json={"detail": "no GIF here"})
        return server()(request)

    assert compare(server(), refuse) == 1
    printed = capsys.readouterr().out
    assert f"{SECOND}: status 406: no GIF here" in printed
    assert "39 of 40 answers are the same" in printed


def test_other_weights_are_not_compared(
    compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(server(), server(sha256="1" * 64)) == 2
    assert "different weights: tiny (00000000) and tiny (11111111)" in capsys.readouterr().err


def test_another_runtime_or_device_is_told(
    compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(server(), server(runtime="openvino", device="cuda", batch_invariant=False)) == 0
    printed = capsys.readouterr().out
    assert "differ in runtime (eager and openvino)" in printed
    assert "differ in device (cpu and cuda)" in printed
    assert "the second server is not batch-invariant" in printed


def test_a_server_that_is_not_there_is_named(
    compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    assert compare(server(), gone) == 2
    assert f"{SECOND}: cannot be reached (connection refused)" in capsys.readouterr().err


def test_a_server_that_ends_meanwhile_is_named(
    compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/model":
            raise httpx.ReadError("connection reset", request=request)
        return server()(request)

    assert compare(breaks, server()) == 2
    assert f"{FIRST}: no answer (connection reset)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (httpx.Response(404, text="?"), "status 404: Not Found"),
        (httpx.Response(200, text="hello"), "lacks everything: it is no JSON"),
        (httpx.Response(200, json={"name": "other"}), "lacks num_timesteps, classes"),
    ],
)
def test_a_server_that_is_no_such_service_is_named(
    compare: Compare,
    capsys: pytest.CaptureFixture[str],
    response: httpx.Response,
    reason: str,
) -> None:
    assert compare(server(), lambda _: response) == 2
    assert reason in capsys.readouterr().err


def test_a_url_needs_its_scheme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        same_bytes.main(["127.0.0.1:8000", SECOND])
    assert end.value.code == 2
    assert "127.0.0.1:8000: it must begin with http://" in capsys.readouterr().err


def test_the_key_is_sent_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_API_KEY", "secret")
    assert same_bytes.connect(FIRST, 1.0).headers["Authorization"] == "Bearer secret"


def test_the_requests_fit_the_model_and_the_limits() -> None:
    requests = make_requests(MODEL, LIMITS)
    assert len({json.dumps(request.body) for request in requests}) == 40
    assert {request.body.get("sampler", "ddpm") for request in requests} == {
        "ddpm", "ddim", "dpmpp",
    }  # fmt: skip
    assert len({request.accept for request in requests}) == 8
    for request in requests:
        body = request.body
        assert body["n"] <= 16 and body.get("steps", 1) <= 50
        assert body.get("frames", 2) <= 8 and len(body.get("timesteps", [])) <= 8
        labels = body.get("labels", [])
        if isinstance(labels, list):
            assert len(labels) in (0, body["n"]) and set(labels) <= {0, 1}


def test_an_unconditional_model_is_asked_for_no_labels() -> None:
    requests = make_requests({**MODEL, "classes": [], "null_label": None}, LIMITS)
    assert len(requests) == 40
    assert not any({"labels", "guidance"} & set(request.body) for request in requests)


def test_a_model_without_a_null_label_gets_labels_always_and_guidance_never() -> None:
    for request in make_requests({**MODEL, "null_label": None}, LIMITS):
        assert "labels" in request.body and "guidance" not in request.body


def test_a_stream_without_its_end_is_no_answer() -> None:
    with pytest.raises(ValueError, match="ended before its time"):
        read_content("text/event-stream", b": keep-alive\n\n")
    with pytest.raises(ValueError, match="no memory"):
        read_content("text/event-stream", b'event: error\ndata: {"detail": "no memory"}\n\n')
