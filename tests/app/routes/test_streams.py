"""POST /denoise-trajectory: every representation, live, and the last frame that of /sample."""

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.app.server import Server

BODY = {"n": 2, "seed": 11, "sampler": "ddim", "steps": 20, "labels": [4, 8], "frames": 5}
TIMES = [1000, 750, 500, 250, 0]


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event, data) of a text/event-stream."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def stream(server: Server, body: dict[str, Any]) -> Any:
    headers = {"Accept": "text/event-stream"}
    return server.client.stream("POST", "/denoise-trajectory", json=body, headers=headers)


def test_frames_go_from_noise_to_the_image_that_sample_returns(server: Server) -> None:
    answer = server.post("/denoise-trajectory", BODY).json()
    sample_body = {k: v for k, v in BODY.items() if k != "frames"}
    samples = server.post("/sample", sample_body).json()["samples"]
    assert (answer["model"], answer["seed"], answer["steps"]) == ("mnist", 11, 20)
    for trajectory, sample in zip(answer["trajectories"], samples, strict=True):
        assert [frame["t"] for frame in trajectory["frames"]] == TIMES
        assert (trajectory["index"], trajectory["label"]) == (sample["index"], sample["label"])
        last = trajectory["frames"][-1]
        assert last["x_t"] == last["x0_hat"] == sample["png"]
        noise = decoded(base64.b64decode(trajectory["frames"][0]["x_t"])) / 127.5 - 1
        assert abs(noise.mean()) < 0.2 and noise.std() > 0.6  # clipped N(0, 1)


def test_the_last_frame_of_algorithm_2_is_the_sample_too(server: Server) -> None:
    body = {"seed": 3, "steps": 40, "labels": 5}
    trajectory = server.post("/denoise-trajectory", body).json()["trajectories"][0]
    sample = server.post("/sample", body).json()["samples"][0]
    assert len(trajectory["frames"]) == 11
    assert trajectory["frames"][-1]["x_t"] == sample["png"]


def test_exact_timesteps_are_kept_and_others_get_the_nearest_visited(server: Server) -> None:
    body = {"seed": 1, "sampler": "ddim", "steps": 10, "timesteps": [0, 1000, 490, 500, 120]}
    frames = server.post("/denoise-trajectory", body).json()["trajectories"][0]["frames"]
    assert [frame["t"] for frame in frames] == [1000, 500, 100, 0]


def test_the_npz_has_the_states_whole_in_float32(server: Server) -> None:
    content = server.post("/denoise-trajectory", BODY, "application/x-npz").content
    assert content == server.post("/denoise-trajectory", BODY, "application/x-npz").content
    answer = server.post("/denoise-trajectory", BODY).json()
    with np.load(io.BytesIO(content), allow_pickle=False) as npz:
        assert npz["x_t"].shape == npz["x0_hat"].shape == (2, 5, 1, 28, 28)
        assert npz["x_t"].dtype == npz["x0_hat"].dtype == np.float32
        assert npz["t"].tolist() == TIMES
        assert np.abs(npz["x_t"][:, 0]).max() > 1.5, "x_T is not clipped"
        assert np.abs(npz["x0_hat"]).max() <= 1
        for i, trajectory in enumerate(answer["trajectories"]):
            for k, frame in enumerate(trajectory["frames"]):
                for name in ("x_t", "x0_hat"):
                    picture = np.round((np.clip(npz[name][i, k, 0], -1, 1) + 1) * 127.5)
                    np.testing.assert_array_equal(decoded(base64.b64decode(frame[name])), picture)


def test_the_film_strip_has_a_row_per_sample_and_a_column_per_frame(server: Server) -> None:
    strip = decoded(server.post("/denoise-trajectory", BODY, "image/png").content)
    assert strip.shape == (2 * 28, 5 * 28)
    answer = server.post("/denoise-trajectory", BODY).json()
    frame = answer["trajectories"][1]["frames"][3]
    np.testing.assert_array_equal(
        strip[28:, 3 * 28 : 4 * 28], decoded(base64.b64decode(frame["x_t"]))
    )


@pytest.mark.parametrize(
    ("accept", "kind"), [("image/gif", "GIF"), ("image/webp", "WEBP"), ("image/apng", "PNG")]
)
def test_animations_show_the_grid_at_every_frame(server: Server, accept: str, kind: str) -> None:
    response = server.post("/denoise-trajectory", BODY, accept)
    assert response.headers["content-type"] == accept
    strip = decoded(server.post("/denoise-trajectory", BODY, "image/png").content)
    with Image.open(io.BytesIO(response.content)) as animation:
        assert animation.format == kind
        assert getattr(animation, "n_frames", 1) == 5
        for k in range(5):
            animation.seek(k)
            grid = np.asarray(animation.convert("L"))
            np.testing.assert_array_equal(grid[:, :28], strip[:28, k * 28 : (k + 1) * 28])
            np.testing.assert_array_equal(grid[:, 28:], strip[28:, k * 28 : (k + 1) * 28])


def test_the_stream_sends_each_frame_once_then_one_done(server: Server) -> None:
    with stream(server, BODY) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-seed"] == "11"
        received = list(events(response.iter_lines()))
    names = [name for name, _ in received]
    assert names == ["frame"] * 10 + ["done"]
    answer = server.post("/denoise-trajectory", BODY).json()
    pictures = {
        (trajectory["index"], frame["t"]): frame
        for trajectory in answer["trajectories"]
        for frame in trajectory["frames"]
    }
    for _, frame in received[:-1]:
        assert frame == {"index": frame["index"], **pictures.pop((frame["index"], frame["t"]))}
    done = received[-1][1]
    assert done.keys() == {"id", "model", "seed", "sampler", "steps", "timing"}


def test_frames_arrive_while_the_chain_is_still_running(server: Server) -> None:
    body = {"seed": 1, "steps": 1000, "frames": 11}
    with stream(server, body) as response:
        received = events(response.iter_lines())
        assert next(received)[1]["t"] == 1000
        # The chain has 900 steps to its second frame's successor; other requests are served.
        assert server.post("/sample", {"sampler": "ddim", "steps": 5}).status_code == 200
        assert next(received)[1]["t"] == 900
        assert server.client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_a_client_that_leaves_frees_its_slots(tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("queue") / "server.log"
    with Server(log, "--max-queue-samples=4") as server:
        full = {"n": 4, "seed": 1}
        with stream(server, full) as response:
            received = events(response.iter_lines())
            assert next(received)[0] == "frame"
            refused = server.post("/sample", {"n": 1})
            assert refused.status_code == 503
            assert refused.json()["detail"] == (
                "the queue has room for 0 of the 1 samples asked for (it holds 4)"
            )
            assert int(refused.headers["retry-after"]) >= 1
        retry_until_accepted(server, {"n": 4, "sampler": "ddim", "steps": 2})
        with httpx.Client(base_url=server.url, timeout=1.0) as impatient:
            with pytest.raises(httpx.ReadTimeout):
                impatient.post("/sample", json=full)
        retry_until_accepted(server, {"n": 4, "sampler": "ddim", "steps": 2})


def retry_until_accepted(server: Server, body: dict[str, Any]) -> None:
    """The leaving is noticed at the next step; until then the queue is still full."""
    for _ in range(200):
        if server.post("/sample", body).status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError("the slots were not freed")
