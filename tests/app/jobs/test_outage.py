"""An outage of the storage is two lines in the log, however long it lasts."""

import logging

import pytest

from app.jobs.errors import StorageUnavailable
from app.jobs.outage import Outage

ERROR = StorageUnavailable("no database")


def test_an_outage_has_a_line_when_it_begins_and_one_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage("nothing can be done now")
    with caplog.at_level(logging.INFO, "ddpm.jobs"):
        outage.end()
        assert caplog.messages == []
        for _ in range(100):
            outage.note(ERROR)
        assert caplog.messages == ["nothing can be done now: no database"]
        for _ in range(100):
            outage.end()
        assert caplog.messages[1:] == ["nothing can be done now: that is over"]
        outage.note(ERROR)
        assert len(caplog.messages) == 3, "the next one is another"


def test_what_fails_meanwhile_can_be_seen(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("nothing can be done now")
    with caplog.at_level(logging.DEBUG, "ddpm.jobs"):
        outage.note(ERROR)
        outage.note(StorageUnavailable("still none"))
    assert caplog.messages[1] == "nothing can be done now: still none"
