"""What is known about one request."""

from app.http.request_log import JobSummary, RequestRecord


def test_a_request_has_one_record() -> None:
    scope, other = {"type": "http"}, {"type": "http"}
    record = RequestRecord.of(scope)
    assert RequestRecord.of(scope) is record
    assert RequestRecord.of(other) is not record


def test_the_job_is_described_in_plain_fields() -> None:
    record = RequestRecord()
    assert record.job is None
    record.describe_job(id="a", model="m", n=2, steps=50, sampler="ddim")
    assert record.job == JobSummary("a", "m", 2, 50, "ddim")


def test_of_several_reasons_for_a_drop_the_first_counts() -> None:
    record = RequestRecord()
    record.drop("overloaded")
    record.drop("disconnected")
    assert record.dropped == "overloaded"


def test_the_first_frame_alone_is_timed() -> None:
    record = RequestRecord()
    assert record.first_frame_seconds is None
    record.saw_frame()
    first = record.first_frame_seconds
    assert first is not None and first >= 0
    record.saw_frame()
    assert record.first_frame_seconds == first
