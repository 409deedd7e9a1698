"""The process that decodes what clients send, as functions: `test_pictures` has it as a process."""

import base64
import io
import subprocess
import sys

import msgpack
import numpy as np
import pytest

from app.generation.picture_worker import NOT_BASE64, answer
from app.wire.codec import HEADER
from tests.app.generation.hostile_pictures import PNG, RAMP, REFUSED

TASK = {
    "kind": "picture",
    "text": base64.b64encode(PNG).decode(),
    "shape": (1, 8, 8),
    "resize": False,
}


def test_a_task_is_answered_with_an_array_or_a_reason() -> None:
    assert answer(TASK) == {"array": RAMP.tobytes(), "shape": (1, 8, 8)}
    assert answer({**TASK, "text": "?"}) == {
        "reason": NOT_BASE64, "refusal": "not_base64",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("text", "unknown_format"),
        ("svg", "unknown_format"),
        ("100,000 x 100,000", "too_large"),
        ("60,000 x 1", "too_large"),
        ("1 x 1", "wrong_size"),
        ("cut", "unusable"),
        ("without pixels", "unusable"),
    ],
)
def test_why_something_is_refused_is_told_in_a_word(name: str, refusal: str) -> None:
    text = base64.b64encode(REFUSED[name][0]).decode()
    assert answer({**TASK, "text": text})["refusal"] == refusal


def test_files_and_states_may_be_too_large() -> None:
    text = base64.b64encode(PNG + bytes(4 << 20)).decode()
    assert answer({**TASK, "text": text})["refusal"] == "too_large"
    file = io.BytesIO()
    np.save(file, np.zeros((1, 1, 8, 8), np.float32))
    states = {"kind": "states", "text": base64.b64encode(file.getvalue()).decode(), "t": None}
    assert answer({**states, "max_bytes": 255})["refusal"] == "too_large"
    assert answer({**states, "max_bytes": 256})["shape"] == (1, 1, 8, 8)
    no_states = {**states, "text": base64.b64encode(PNG).decode(), "max_bytes": 256}
    assert answer(no_states)["refusal"] == "unusable"


def test_the_process_answers_one_task_after_another_until_nothing_comes() -> None:
    task = msgpack.packb(TASK)
    command = [sys.executable, "-m", "app.generation.picture_worker"]
    sent = (HEADER.pack(len(task)) + task) * 2
    told = subprocess.run(command, input=sent, capture_output=True, check=True).stdout
    half = len(told) // 2
    assert told[:half] == told[half:]
    made = msgpack.unpackb(told[HEADER.size : half])
    np.testing.assert_array_equal(np.frombuffer(made["array"], np.uint8), RAMP.ravel())
