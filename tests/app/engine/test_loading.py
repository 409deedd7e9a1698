"""From a checkpoint to a network that is warm."""

from pathlib import Path

import pytest

from app.engine.loading import load
from app.wire.messages import Load
from app.wire.options import Options
from tests.tiny import save_tiny


def test_what_was_decided_for_want_of_a_file_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = (save_tiny(tmp_path / "tiny") / "unet").rename(tmp_path / "alone")
    options = Options("cpu", "eager", threads=1, cache="")
    load(Load("alone#1", str(alone), "alone", max_batch=1), options)
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert told.getMessage().startswith(f"{alone}: there is no scheduler_config.json")
