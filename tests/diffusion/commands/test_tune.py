"""`ddpm tune`: lists on the card, in place or on a copy's; refusals before the work."""

import json
import re
from pathlib import Path

import pytest

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from diffusion.tuned import step_counts
from tests.tiny import save_tiny

FLAGS = ["--trajectories=3", "--runtime=eager"]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny", num_classes=2, null_label=True)


def test_the_card_gets_a_list_for_each_sampler_and_number_of_steps(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = open_checkpoint(tiny)
    assert main(["tune", str(tiny), *FLAGS]) == 0
    checkpoint = open_checkpoint(tiny)
    counts = step_counts(checkpoint.card.tuned)
    assert counts == dict.fromkeys(("ddim", "dpmpp", "unipc", "ipndm"), list(range(4, 21)))
    assert checkpoint.sha256 == before.sha256 and checkpoint.card.name == "tiny"
    told = capsys.readouterr().out
    four = ", ".join(map(str, checkpoint.card.tuned["unipc"]["4"]))
    assert f"  4 steps: {four}\n" in told and f"tuned lists written to {tiny}" in told
    line = f'"4": [{four}]'
    assert line in (tiny / "model_card.json").read_text(), "a list is one line of the card"


def test_the_same_seed_gives_the_same_card_and_a_copy_leaves_the_checkpoint(
    tiny: Path, tmp_path: Path
) -> None:
    before = (tiny / "model_card.json").read_bytes()
    copy, other = tmp_path / "copy", tmp_path / "other"
    for out in (copy, other):
        assert main(["tune", str(tiny), f"--out={out}", *FLAGS]) == 0
    assert (tiny / "model_card.json").read_bytes() == before
    assert (copy / "model_card.json").read_bytes() == (other / "model_card.json").read_bytes()
    assert open_checkpoint(copy).sha256 == open_checkpoint(tiny).sha256


def test_a_recommendation_of_other_lists_goes_with_them(tiny: Path) -> None:
    card = tiny / "model_card.json"
    assert main(["tune", str(tiny), *FLAGS]) == 0
    told = {"sampler": "unipc", "steps": 4, "spacing": "tuned", "guidance": 1.0}
    card.write_text(json.dumps({**json.loads(card.read_text()), "recommended": told}))
    assert main(["tune", str(tiny), *FLAGS]) == 0
    assert open_checkpoint(tiny).card.recommended == told, "the lists are the same"
    assert main(["tune", str(tiny), *FLAGS, "--seed=1"]) == 0
    assert open_checkpoint(tiny).card.recommended == {"guidance": 1.0}


@pytest.mark.slow
def test_the_cache_is_the_one_asked_for(tiny: Path, tmp_path: Path) -> None:
    flags = ["--trajectories=1", "--runtime=openvino", "--device=cpu", "--precision=float32"]
    assert main(["tune", str(tiny), *flags, f"--cache={tmp_path / 'cache'}"]) == 0
    assert list((tmp_path / "cache" / "openvino").iterdir())


def test_a_chain_of_fewer_steps_than_any_list_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = save_tiny(tmp_path / "short")
    scheduler = short / "scheduler" / "scheduler_config.json"
    config = json.loads(scheduler.read_text())
    noisy = {"num_train_timesteps": 3, "beta_start": 0.9, "beta_end": 0.999}
    scheduler.write_text(json.dumps({**config, **noisy}))
    assert main(["tune", str(short), *FLAGS]) == 2
    assert "tiny: its chain has 3 steps; lists are of 4 or more" in capsys.readouterr().err


def test_a_network_that_takes_log_t_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", str(save_tiny(tmp_path / "f", fourier_time=True)), *FLAGS]) == 2
    assert "tiny: its network cannot be told t = 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trajectories=0"], "trajectories: 0 is not allowed: it must be 1..65536"),
        (["--batch-size=0"], "batch_size: 0 is not allowed: it must be 1"),
        (["--guidance=21"], "guidance: 21.0 is not allowed: it must be 0..20"),
        (["--seed=-1"], "seed: -1 is not allowed: it must be 0"),
        (["--out={tiny}"], "the checkpoint exists; --force replaces it"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    tiny: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [flag.format(tiny=tiny) for flag in flags]
    assert main(["tune", str(tiny), "--runtime=eager", *given]) == 2
    told = capsys.readouterr().err
    assert re.search(re.escape(message), told) and "row" not in told


def test_guidance_needs_a_model_that_can_be_guided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = save_tiny(tmp_path / "plain")
    assert main(["tune", str(plain), "--guidance=1", *FLAGS]) == 2
    assert "guidance: 1.0 is not allowed: it needs labels" in capsys.readouterr().err


def test_a_built_in_model_is_not_changed_and_no_network_is_loaded_for_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusion.commands.tune.Source", None)
    assert main(["tune", "mnist", *FLAGS]) == 2
    told = capsys.readouterr().err
    assert "the built-in model mnist stays as it is; --out names a folder for a copy" in told
