"""Several models in one server: loaded, replaced and unloaded while it runs. Its engine is a fake
one; tests/app/service/test_models_under_load.py has the real one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.settings.models import MAX_MODELS
from diffusion.folders import MODELS
from tests.app.server import Server
from tests.app.service.test_keys import ADMIN, ALICE, table
from tests.app.service.test_limits import bearer
from tests.tiny import save_tiny

ENGINE = ("tests.fake_engine", "0.002:0.3")
BODY: dict[str, Any] = {"n": 2, "seed": 5, "steps": 3, "sampler": "ddim"}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Two checkpoints of different weights."""
    one = save_tiny(tmp_path / "one")
    two = save_tiny(tmp_path / "two", channels=3)
    return {"one": one, "two": two}


def start(folders: dict[str, Path], tmp_path: Path, *flags: str) -> Server:
    keys = tmp_path / "keys.toml"
    keys.write_text(table("alice", ALICE) + table("root", ADMIN, "admin = true"))
    checkpoints = ",".join(map(str, folders.values()))
    flags = (f"--checkpoint={checkpoints}", f"--api-keys-file={keys}", *flags)
    server = Server(tmp_path / "server.log", *flags, engine=ENGINE)
    server.client.headers.update(bearer(ADMIN))
    return server


@pytest.fixture
def server(folders: dict[str, Path], tmp_path: Path) -> Iterator[Server]:
    with start(folders, tmp_path) as started:
        yield started


def images(server: Server, model: str | None, **fields: Any) -> list[str]:
    """The images of a model, asked for until it is loaded, as Retry-After says."""
    while (answer := server.post("/sample", {**BODY, "model": model, **fields})).status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == (model or "one")
    return [sample["sha256"] for sample in answer.json()["samples"]]


def entry(server: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get(f"/models/{name}").json()
    return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def change(folder: Path) -> None:
    """Other weights in the same folder."""
    other = save_tiny(folder.parent / "changed" / folder.name, num_classes=2)
    shutil.rmtree(folder)
    other.rename(folder)


@pytest.mark.slow
def test_a_request_gets_the_model_that_it_names(server: Server) -> None:
    one, two = images(server, "one"), images(server, "two")
    assert images(server, None) == one != two
    shapes = {name: entry(server, name)["model"]["image_shape"] for name in ("one", "two")}
    assert shapes == {"one": [1, 8, 8], "two": [3, 8, 8]}
    refused = server.post("/sample", {**BODY, "model": "three"})
    assert refused.json()["errors"][0]["message"] == "this server has one, two"
    log = server.log.read_text()
    assert "model='two'" in log
    metrics = server.client.get("/metrics").text
    assert 'ddpm_samples_total{model="two",outcome="finished"} 2.0' in metrics


@pytest.mark.slow
def test_only_an_admin_changes_which_models_are_loaded(server: Server) -> None:
    for headers, status in (({"Authorization": ""}, 401), (bearer(ALICE), 403)):
        for method in ("POST", "DELETE"):
            answer = server.client.request(method, "/models/one", headers=headers)
            assert answer.status_code == status
    assert server.client.get("/models", headers={"Authorization": ""}).status_code == 200


@pytest.mark.slow
def test_a_model_is_replaced_and_the_old_one_serves_until_then(
    server: Server, folders: dict[str, Path]
) -> None:
    before = images(server, "one")
    change(folders["one"])
    answer = server.client.post("/models/one")
    assert answer.status_code == 202
    assert answer.json()["state"] == "ready"
    assert answer.json()["replacement"]["state"] == "loading"
    assert images(server, "one") == before
    until(lambda: entry(server, "one")["replacement"] is None)
    assert images(server, "one", labels=0) != before
    assert entry(server, "one")["model"]["classes"] == ["0", "1"]


@pytest.mark.slow
def test_a_replacement_that_fails_leaves_the_old_one_and_says_why(
    server: Server, folders: dict[str, Path]
) -> None:
    before = images(server, "two")
    shutil.rmtree(folders["two"] / "unet")
    server.client.post("/models/two", json={})
    until(lambda: (entry(server, "two")["replacement"] or {}).get("state") == "failed")
    assert "No such file" in entry(server, "two")["replacement"]["detail"]
    assert images(server, "two") == before


@pytest.mark.slow
def test_after_that_it_is_loaded_again_from_where_it_came_from(
    server: Server, folders: dict[str, Path]
) -> None:
    shutil.rmtree(folders["two"] / "unet")
    server.client.post("/models/one", json={"checkpoint": str(folders["two"])})
    until(lambda: (entry(server, "one")["replacement"] or {}).get("state") == "failed")
    server.client.post("/models/one")
    until(lambda: entry(server, "one")["replacement"] is None)


@pytest.mark.slow
def test_the_only_model_is_replaced_although_the_engine_dies_meanwhile(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    del folders["two"]
    with start(folders, tmp_path) as server:
        change(folders["one"])
        server.client.post("/models/one")
        os.kill(server.engine_pid(), signal.SIGKILL)
        until(lambda: entry(server, "one")["model"]["classes"] == ["0", "1"])
        assert images(server, "one", labels=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("one", {"checkpoint": "/etc"}, "checkpoint"),
        ("other", {}, "checkpoint"),
        ("-x", {"checkpoint": "mnist"}, "name"),
        ("one", {"checkpoint": ""}, "checkpoint"),
        ("one", {"checkpoints": "mnist"}, "checkpoints"),
    ],
)
def test_what_may_not_be_loaded_is_refused(
    server: Server, name: str, body: dict[str, str], field: str
) -> None:
    answer = server.client.post(f"/models/{name}", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert server.client.get("/models/other").status_code == 404


@pytest.mark.slow
def test_one_model_too_many_is_refused_by_its_name(
    server: Server, folders: dict[str, Path]
) -> None:
    body = {"checkpoint": str(folders["one"])}
    for number in range(MAX_MODELS - len(folders)):
        assert server.client.post(f"/models/more-{number}", json=body).status_code == 202
    answer = server.client.post("/models/last", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], error["value"]) == ("name", "last")
    assert error["message"] == "this server has 32 models, and has room for no other"


@pytest.mark.slow
def test_a_built_in_model_is_added(server: Server) -> None:
    assert "mnist" in server.client.get("/models").json()["loadable"]
    answer = server.client.post("/models/digits", json={"checkpoint": "mnist"})
    assert (answer.status_code, answer.json()["state"]) == (202, "loading")
    assert len(images(server, "digits", labels=3)) == 2
    weights = (MODELS / "mnist/unet/diffusion_pytorch_model.safetensors").stat().st_size
    assert entry(server, "digits")["memory_bytes"] == weights


@pytest.mark.slow
def test_an_unloaded_model_is_loaded_by_the_next_request_for_it(server: Server) -> None:
    before = images(server, "two")
    answer = server.client.delete("/models/two")
    assert answer.status_code == 202
    until(lambda: entry(server, "two")["state"] == "unloaded")
    refused = server.post("/sample", {**BODY, "model": "two"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"  # its last load took 0.3 s
    assert "the model two is being loaded" in refused.json()["detail"]
    assert images(server, "one"), "nothing else is delayed"
    assert images(server, "two") == before
    assert server.client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_the_command_line_says_that_it_waits_for_an_unloaded_model(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DDPM_API_KEY", ALICE)
    server.client.delete("/models/two")
    until(lambda: entry(server, "two")["state"] == "unloaded")
    flags = ["--n=1", "--steps=2", f"--server={server.url}", "--force", f"--out={tmp_path}/a.png"]
    for name in ("two", "one"):
        assert main(["sample", name, *flags]) == 0
        said = f"waiting: {server.url} loads {name} first" in capsys.readouterr().err
        assert said == (name == "two")


@pytest.mark.slow
def test_an_engine_that_dies_comes_back_with_the_models_that_it_had(server: Server) -> None:
    before = [images(server, name) for name in ("one", "two")]
    os.kill(server.engine_pid(), signal.SIGKILL)
    assert [images(server, name) for name in ("two", "one")] == before[::-1]


def job(server: Server, **fields: Any) -> str:
    headers = {"Prefer": "respond-async"}
    answer = server.client.post("/sample", json={**BODY, **fields}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


def status(server: Server, place: str) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get(place).json()
    return found


def hashes(server: Server, place: str) -> list[str]:
    result = server.client.get(f"{place}/result").json()
    return [sample["sha256"] for sample in result["samples"]]


@pytest.mark.slow
def test_a_job_goes_on_with_the_weights_that_it_was_begun_with(
    server: Server, folders: dict[str, Path]
) -> None:
    long: dict[str, Any] = {"model": "one", "n": 60, "steps": 50}
    expected = images(server, **long)
    place = job(server, **long)
    until(lambda: status(server, place)["done"] > 0)
    change(folders["one"])
    server.client.post("/models/one")
    until(lambda: entry(server, "one")["model"]["classes"] == ["0", "1"])
    until(lambda: status(server, place)["status"] == "finished")
    assert hashes(server, place) == expected


@pytest.mark.slow
def test_a_job_of_an_unloaded_model_waits_for_it(server: Server) -> None:
    expected = images(server, "two")
    server.client.delete("/models/two")
    until(lambda: entry(server, "two")["state"] == "unloaded")
    place = job(server, model="two")
    until(lambda: status(server, place)["status"] == "finished")
    assert hashes(server, place) == expected


@pytest.mark.slow
def test_models_take_no_more_memory_than_they_may(tmp_path: Path) -> None:
    """The built-in ones take 4 and 26 MiB of a fake engine."""
    more = {"mnist": Path("mnist"), "cifar10": Path("cifar10")}
    with start({**more, "again": Path("again=mnist")}, tmp_path, "--model-memory=30") as server:
        states = {model["name"]: model["state"] for model in listed(server)}
        assert states == {"mnist": "ready", "cifar10": "unloaded", "again": "ready"}
        for name, gone in (("cifar10", "again"), ("again", "mnist")):
            images(server, name, labels=0)
            assert entry(server, gone)["state"] == "unloaded"


@pytest.mark.slow
def test_engines_that_have_no_memory_for_all_models_have_what_is_asked_for(tmp_path: Path) -> None:
    """Two engines, each with memory for one of the built-in models or the other."""
    built_in = {"mnist": Path("mnist"), "cifar10": Path("cifar10")}
    with start(built_in, tmp_path, "--model-memory=28", "--device=auto,cpu") as server:
        places = {model["name"]: model["engines"] for model in listed(server)}
        assert sorted(places.values()) == [["0"], ["1"]]
        for _ in range(3):
            for name in built_in:
                answer = server.post("/sample", {**BODY, "model": name, "labels": 0})
                assert answer.status_code == 200, "both are there, and stay"
        os.kill(server.children()[0], signal.SIGKILL)
        for name in built_in:
            images(server, name, labels=0)
        until(lambda: all(model["state"] == "ready" for model in listed(server)))


def listed(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.client.get("/models").json()["models"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("place", "status"), [("nowhere", 2), ("empty", 1)])
def test_a_checkpoint_that_cannot_be_loaded_ends_the_start(
    place: str, status: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    command = [
        sys.executable, "-m", "tests.app.server", *ENGINE, "--", "--port=0",
        f"--checkpoint={folders['one']},{tmp_path / place}",
    ]  # fmt: skip
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "DDPM_JOBS_FOLDER": str(tmp_path / "jobs")},
    )  # fmt: skip
    assert ended.returncode == status
    assert place in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_load_that_kills_the_engine_is_given_up_and_the_others_serve(
    server: Server, folders: dict[str, Path]
) -> None:
    """It is the old version's, too: the next engine loads that from the same folder."""
    card = folders["two"] / "model_card.json"
    card.write_text(card.read_text().replace('"data": null', '"data": "crash"'))
    before = images(server, "one")
    server.client.post("/models/two")
    until(lambda: (entry(server, "two")["replacement"] or {}).get("state") == "failed")
    until(lambda: entry(server, "two")["state"] == "unloaded")
    found = entry(server, "two")
    for detail in (found["detail"], found["replacement"]["detail"]):
        assert detail == "the engine died 3 times while it was loading it"
    assert images(server, "one") == before
    assert server.client.get("/readyz").status_code == 200
    refused = server.post("/sample", {**BODY, "model": "two"})
    assert refused.status_code == 503
    assert "the model two cannot be loaded: the engine died 3 times" in refused.json()["detail"]
