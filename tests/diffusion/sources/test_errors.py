"""The error with which a source is refused."""

import pytest

from diffusion.sources.errors import MAX_REASON, CheckpointError


def test_a_remedy_is_the_end_of_the_message_and_kept_apart_from_the_reason() -> None:
    error = CheckpointError("config.json: broken", "mend it")
    assert str(error) == "config.json: broken; mend it"
    assert (error.reason, error.remedy) == ("config.json: broken", "mend it")
    assert str(CheckpointError("broken")) == "broken" and CheckpointError("broken").remedy is None


@pytest.mark.parametrize(("length", "kept"), [(MAX_REASON, MAX_REASON), (MAX_REASON + 1, 999)])
def test_a_long_reason_is_cut_and_says_so_and_its_remedy_is_not(length: int, kept: int) -> None:
    error = CheckpointError("x" * length, "mend it")
    assert error.reason == "x" * kept + "…" * (length > MAX_REASON)
    assert len(error.reason) == MAX_REASON and str(error).endswith("; mend it")
