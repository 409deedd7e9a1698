"""The process that decodes what clients send, as functions: `test_pictures` has it as a process."""

import base64
import subprocess
import sys

import msgpack
import numpy as np

from app.generation.picture_worker import answer
from app.wire.messages import HEADER
from tests.app.generation.hostile_pictures import PNG, RAMP

TASK = {
    "kind": "picture",
    "text": base64.b64encode(PNG).decode(),
    "shape": (1, 8, 8),
    "resize": False,
}


def test_a_task_is_answered_with_an_array_or_a_reason() -> None:
    assert answer(TASK) == {"array": RAMP.tobytes(), "shape": (1, 8, 8)}
    assert answer({**TASK, "text": "?"}) == {
        "reason": "it is not base64 (RFC 4648, section 4)"
    }  # fmt: skip


def test_the_process_answers_one_task_after_another_until_nothing_comes() -> None:
    task = msgpack.packb(TASK)
    command = [sys.executable, "-m", "app.generation.picture_worker"]
    sent = (HEADER.pack(len(task)) + task) * 2
    told = subprocess.run(command, input=sent, capture_output=True, check=True).stdout
    half = len(told) // 2
    assert told[:half] == told[half:]
    made = msgpack.unpackb(told[HEADER.size : half])
    np.testing.assert_array_equal(np.frombuffer(made["array"], np.uint8), RAMP.ravel())
