"""Finished pieces of a long computation are made once, and only for the same computation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from diffusion.evaluation.cache import EvaluationError, Parts

KEY = {"seed": 0, "samplers": ("ddim:4",)}


def test_a_part_is_made_once_and_then_read(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> Mapping[str, np.ndarray]:
        made.append("made")
        return {"x": np.arange(3), "seconds": np.array(1.5)}

    first = Parts(tmp_path, KEY).get("a", make)
    again = Parts(tmp_path, KEY).get("a", make)
    assert made == ["made"]
    np.testing.assert_array_equal(first["x"], again["x"])
    assert float(again["seconds"]) == 1.5


def test_a_part_that_was_not_finished_is_made_again(tmp_path: Path) -> None:
    def interrupted() -> Mapping[str, np.ndarray]:
        raise KeyboardInterrupt

    parts = Parts(tmp_path, KEY)
    with pytest.raises(KeyboardInterrupt):
        parts.get("a", interrupted)
    (tmp_path / "a.partial.npz").write_bytes(b"half of an archive")
    np.testing.assert_array_equal(parts.get("a", lambda: {"x": np.arange(3)})["x"], [0, 1, 2])
    assert not (tmp_path / "a.partial.npz").exists()


def test_a_folder_with_parts_of_another_computation_is_refused(tmp_path: Path) -> None:
    Parts(tmp_path, KEY)
    with pytest.raises(EvaluationError, match="holds an evaluation with seed = 0, not 1"):
        Parts(tmp_path, {**KEY, "seed": 1})


def test_what_an_older_version_did_not_write_is_what_it_did(tmp_path: Path) -> None:
    Parts(tmp_path, KEY)
    older = {"labels": "balanced"}
    Parts(tmp_path, {**KEY, "labels": "balanced"}, older)
    with pytest.raises(EvaluationError, match="with labels = 'balanced', not 'data'"):
        Parts(tmp_path, {**KEY, "labels": "data"}, older)


@pytest.mark.parametrize("keep", [0, 10, 100, -30], ids=str)
def test_a_damaged_part_is_made_again_with_a_warning(
    keep: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = Parts(tmp_path, KEY)
    parts.get("a", lambda: {"x": np.arange(300)})
    path = tmp_path / "a.npz"
    path.write_bytes(path.read_bytes()[:keep])
    again = parts.get("a", lambda: {"x": np.arange(3)})
    np.testing.assert_array_equal(again["x"], [0, 1, 2])
    assert f"{path} is damaged; this part is made again" in caplog.text
    assert parts.get("a", dict)["x"].tolist() == [0, 1, 2]


def test_text_in_place_of_a_part_is_one_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("not an archive")
    assert Parts(tmp_path, KEY).get("a", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", ["", "[]", "null", '{"seed"', "\x00\xff"])
def test_a_key_that_cannot_be_read_is_refused_with_what_to_do(content: str, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(EvaluationError) as error:
        Parts(tmp_path, KEY)
    assert str(error.value).startswith(f"{path} is damaged (")
    assert str(error.value).endswith("; give another folder, or remove this one")
