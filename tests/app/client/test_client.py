"""Both clients on a real server: what they return, what they raise, how they go on."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.client import (
    Client,
    Conflict,
    InvalidRequest,
    JobCancelled,
    NotFound,
    SampleRequest,
    Samples,
    TimedOut,
    Trajectories,
    TrajectoryRequest,
    Unauthorized,
    Unreachable,
)
from tests.app.client.conftest import Connect, Torn
from tests.app.server import Server, free_port
from tests.conftest import ServerFor
from tests.tiny import save_tiny

SAMPLE = SampleRequest(n=5, seed=7, first_index=3, labels=range(5), sampler="ddim", steps=10)
TRAJECTORY = TrajectoryRequest(n=2, seed=7, labels=[4, 1], steps=20, frames=5)
JOB = SampleRequest(n=70, seed=7, steps=5)
ENDLESS = SampleRequest(n=5000)


def png(image: Image.Image) -> bytes:
    """The pixels, whatever the compression."""
    return image.tobytes()


def test_the_model_is_described(client: Any) -> None:
    model = client.model()
    assert (model.name, model.image_shape, model.num_timesteps) == ("tiny", [1, 8, 8], 50)
    assert len(model.classes) == 10
    assert model.limits["max_samples"] == 50


def test_samples_are_the_pngs_of_the_server_as_pictures_and_as_an_array(
    client: Any, tiny_server: Server
) -> None:
    found = client.sample(SAMPLE)
    assert (found.model, found.seed, found.sampler, found.steps) == ("tiny", 7, "ddim", 10)
    assert [(s.index, s.label) for s in found.samples] == [(3 + i, i) for i in range(5)]
    body = tiny_server.post("/sample", SAMPLE.body(), "application/zip").content
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for sample in found.samples:
            assert archive.read(f"{sample.index:06d}.png") == sample.png
    assert found.array.shape == (5, 8, 8, 1) and found.array.dtype == np.uint8
    assert [image.mode for image in found.images] == ["L"] * 5
    assert png(found.images[2]) == found.array[2].tobytes()
    assert found.grid.size == (24, 16)


@pytest.mark.slow
def test_colour_has_three_channels(tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", channels=3)
    with (
        Server(tmp_path / "log", f"--checkpoint={checkpoint}") as server,
        Client(server.url) as client,
    ):
        found = client.sample(SampleRequest(n=2, steps=2))
    assert found.array.shape == (2, 8, 8, 3)
    assert found.images[0].mode == "RGB"


def test_a_seed_that_is_left_to_the_server_is_named(client: Any) -> None:
    first = client.sample()
    again = client.sample(SampleRequest(seed=first.seed))
    assert again.samples == first.samples


def test_a_trajectory_is_arrays_of_states_and_their_pictures(client: Any) -> None:
    found = client.trajectory(TRAJECTORY)
    assert found.x_t.shape == found.x0_hat.shape == (2, 5, 1, 8, 8)
    assert found.x_t.dtype == np.float32
    assert np.abs(found.x_t).max() > 1  # noise, as it is
    assert (found.seed, found.t[0], found.t[-1]) == (7, 50, 0)
    assert found.label.tolist() == [4, 1]
    last = client.sample(SampleRequest(n=2, seed=7, labels=[4, 1], steps=20))
    assert [png(row[-1]) for row in found.images] == [png(image) for image in last.images]


def test_frames_are_iterated_as_they_arrive(client: Any) -> None:
    frames = list(client.stream(TRAJECTORY))
    whole = client.trajectory(TRAJECTORY)
    assert {(frame.seed, frame.index, frame.t) for frame in frames} == {
        (7, index, t) for index in (0, 1) for t in whole.t
    }
    for frame in frames:
        k = whole.t.tolist().index(frame.t)
        assert png(frame.x_t) == png(whole.images[frame.index][k])
    assert [frame.t for frame in frames if frame.index == 0] == sorted(whole.t, reverse=True)


def test_a_stream_that_breaks_goes_on_without_a_frame_twice(
    connect: Connect, tiny_server: Server, breaking: Callable[..., Any]
) -> None:
    request = TrajectoryRequest(n=2, steps=20, frames=5)  # of a seed that the server draws
    transport = breaking(after=1500, times=2)
    frames = list(connect(tiny_server.url, transport=transport).stream(request))
    assert len(transport.requests) == 3
    (seed,) = {frame.seed for frame in frames}
    assert len(frames) == 10
    again = TrajectoryRequest(n=2, steps=20, frames=5, seed=seed)
    expected = list(connect(tiny_server.url).stream(again))
    assert {(f.index, f.t, png(f.x_t)) for f in frames} == {
        (f.index, f.t, png(f.x_t)) for f in expected
    }


def test_a_job_is_submitted_waited_for_fetched_and_forgotten(client: Any) -> None:
    job = client.submit(JOB)
    assert (job.kind, job.total, job.seed) == ("sample", 70, 7)
    done = client.wait(job, timeout=60, progress=False)
    assert (done.id, done.status, done.done) == (job.id, "finished", 70)
    found = client.result(job)
    assert isinstance(found, Samples)
    head = client.sample(SampleRequest(n=3, seed=7, steps=5))
    assert found.samples[:3] == head.samples
    client.cancel(job)
    with pytest.raises(NotFound, match=job.id):
        client.job(job.id)


def test_a_trajectory_may_be_a_job(client: Any) -> None:
    job = client.wait(client.submit(TRAJECTORY), progress=False)
    found = client.result(job.id)
    assert isinstance(found, Trajectories)
    assert np.array_equal(found.x_t, client.trajectory(TRAJECTORY).x_t)
    assert found.seed == 7


def test_the_same_key_gives_the_same_job(client: Any, kind: str) -> None:
    jobs = [client.submit(JOB, idempotency_key=f"my key, {kind}") for _ in range(2)]
    assert jobs[0].id == jobs[1].id
    with pytest.raises(InvalidRequest):
        client.submit(SampleRequest(n=71), idempotency_key=f"my key, {kind}")


@pytest.mark.slow
def test_waiting_goes_on_behind_the_last_event(
    connect: Connect, tiny_server: Server, breaking: Callable[..., Any]
) -> None:
    transport = breaking(after=600, times=0)  # bytes: one event, and a part of the next
    client = connect(tiny_server.url, transport=transport)
    job = client.submit(SampleRequest(n=400, steps=20))
    transport.times = 1
    states = list(client.watch(job, timeout=60))
    assert states[-1].status == "finished"
    done = [state.done for state in states]
    assert done == sorted(done)
    events = [request for request in transport.requests if request.url.path.endswith("/events")]
    assert len(events) == 2
    assert "last-event-id" not in events[0].headers
    assert int(events[1].headers["last-event-id"]) in done


def test_waiting_ends_when_its_time_is_over_or_the_job_is_gone(client: Any) -> None:
    job = client.submit(ENDLESS)
    with pytest.raises(TimedOut):
        client.wait(job, timeout=0.5, progress=False)
    states = client.watch(job)
    assert next(states).total == 5000
    with pytest.raises(Conflict, match="of 5000"):
        client.result(job)
    client.cancel(job)
    with pytest.raises(JobCancelled, match=f"job {job.id} was cancelled") as caught:
        list(states)
    assert caught.value.job_id == job.id


class Interrupted(httpx.HTTPTransport):
    """Ctrl-C in the middle of the second answer."""

    def __init__(self) -> None:
        super().__init__()
        self.methods: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.methods.append(request.method)
        response = super().handle_request(request)
        if len(self.methods) == 2:
            response.stream = Torn(response.stream, 1, KeyboardInterrupt())
        return response


def test_ctrl_c_ends_the_waiting_and_not_the_job(tiny_server: Server) -> None:
    transport = Interrupted()
    with Client(tiny_server.url, transport=transport) as client:
        job = client.submit(ENDLESS)
        with pytest.raises(KeyboardInterrupt):
            client.wait(job, progress=False)
        assert client.job(job).status in ("waiting", "running")
        assert transport.methods == ["POST", "GET", "GET"], "nothing was cancelled"
        client.cancel(job)


@pytest.mark.slow
def test_waiting_outlives_the_server(connect: Connect, checkpoint: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={checkpoint}"]
    with Server(tmp_path / "first.log", *flags) as first:
        client = connect(first.url, timeout=120)
        states = client.watch(client.submit(SampleRequest(n=300, seed=7, steps=10)))
        before = next(states)
        first.process.kill()
        first.process.wait()
        with Server(tmp_path / "second.log", *flags, port=first.port):
            *_, last = states
            assert before.done < 300
            assert (last.id, last.status, last.done) == (before.id, "finished", 300)


def test_a_progress_bar_tells_how_far_it_is(
    client: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    job = client.wait(client.submit(JOB))
    assert "70/70" in capsys.readouterr().err
    client.download(job, tmp_path / "images.zip")
    assert "images.zip" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["zip", "npz", "png", "json"])
def test_a_result_is_downloaded_as_its_suffix_says(
    client: Any, tiny_server: Server, tmp_path: Path, suffix: str
) -> None:
    job = client.wait(client.submit(SAMPLE), progress=False)
    path = client.download(job, tmp_path / f"result.{suffix}", progress=False)
    accept = {"npz": "application/x-npz", "png": "image/png"}.get(suffix, f"application/{suffix}")
    found = tiny_server.client.get(f"/jobs/{job.id}/result", headers={"Accept": accept})
    assert path.read_bytes() == found.content
    assert list(tmp_path.iterdir()) == [path]


def test_a_download_goes_on_where_it_broke(
    connect: Connect, tiny_server: Server, breaking: Callable[..., Any], tmp_path: Path
) -> None:
    transport = breaking(after=3000, times=0)
    client = connect(tiny_server.url, transport=transport)
    job = client.wait(client.submit(JOB), progress=False)
    whole = client.download(job, tmp_path / "whole.zip", progress=False).read_bytes()
    transport.requests.clear()
    transport.times = 2
    path = client.download(job, tmp_path / "broken.zip", progress=False)
    assert path.read_bytes() == whole
    ranges = [request.headers.get("range") for request in transport.requests]
    assert ranges == [None, "bytes=3000-", "bytes=6000-"]


def test_a_download_that_was_given_up_is_gone_on_with_by_another(
    connect: Connect, tiny_server: Server, breaking: Callable[..., Any], tmp_path: Path
) -> None:
    impatient = connect(tiny_server.url, transport=breaking(3000, times=0), timeout=30)
    job = impatient.wait(impatient.submit(JOB), progress=False)
    impatient = connect(tiny_server.url, transport=breaking(3000), timeout=0.4)
    with pytest.raises(Unreachable, match="reset"):
        impatient.download(job, tmp_path / "images.zip", progress=False)
    (part,) = tmp_path.iterdir()
    assert (part.name, part.stat().st_size) == (f"images.zip.{job.id}.part", 3000)
    watched = breaking(0, times=0)
    client = connect(tiny_server.url, transport=watched)
    path = client.download(job, tmp_path / "images.zip", progress=False)
    assert [request.headers["range"] for request in watched.requests] == ["bytes=3000-"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 71
    assert list(tmp_path.iterdir()) == [path]


def test_without_ranges_a_broken_download_begins_again(
    connect: Connect, tiny_server: Server, breaking: Callable[..., Any], tmp_path: Path
) -> None:
    transport = breaking(after=3000, times=0)
    client = connect(tiny_server.url, transport=transport)
    job = client.wait(client.submit(JOB), progress=False)
    whole = client.download(job, tmp_path / "whole.json", progress=False).read_bytes()
    transport.times = 1
    path = client.download(job, tmp_path / "broken.json", progress=False)
    assert path.read_bytes() == whole


def test_a_download_that_is_refused_leaves_nothing(client: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        client.download("no-such-job", tmp_path / "images.zip", progress=False)
    with pytest.raises(ValueError, match=r"path: 'images.tar' is not allowed: it must end in"):
        client.download("no-such-job", tmp_path / "images.tar")
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_is_an_error_of_its_own_class(client: Any) -> None:
    with pytest.raises(InvalidRequest, match="n: 51 is not allowed") as caught:
        client.sample(SampleRequest(n=51))
    error = caught.value
    assert (error.status, error.title) == (422, "Invalid request")
    assert error.errors[0]["field"] == "n"
    assert error.request_id
    with pytest.raises(InvalidRequest, match="frames or timesteps"):
        list(client.stream(TrajectoryRequest(frames=3, timesteps=[0])))


@pytest.mark.slow
def test_a_key_is_sent_as_a_bearer_token(
    connect: Connect, checkpoint: Path, server_for: ServerFor
) -> None:
    key = "a key of enough letters"
    server = server_for(f"--checkpoint={checkpoint}", keys=key)
    with pytest.raises(Unauthorized):
        connect(server.url).sample()
    assert connect(server.url, api_key=key).sample(SampleRequest(steps=2)).samples


def test_a_server_that_is_not_there_is_said_at_once(connect: Connect) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"^{url} cannot be reached: nothing listens there"):
        connect(url).sample()
    with pytest.raises(ValueError, match=r"url: 'localhost:8000' is not allowed"):
        connect("localhost:8000")
    with pytest.raises(ValueError, match=r"url: 'http://a:b' is not allowed"):
        connect("http://a:b")
