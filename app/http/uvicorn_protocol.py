"""uvicorn's HTTP/1.1 connections, with deadlines for slow clients and problems as errors."""

import asyncio
import json
import uuid

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.http.problems import MEDIA_TYPE, Problem

ANSWERABLE = (h11.IDLE, h11.SEND_RESPONSE)
PART_BYTES = 256 << 10
"""The bytes of an answer that a client must take in `write_seconds`: those of a large block."""


class PatientProtocol(H11Protocol):
    """A connection that is closed when a request's head does not arrive within `seconds`.

    The time counts from the connection's beginning, and later from the first byte after an answer:
    until then uvicorn's keep-alive timeout counts. That ends at the first byte: a client that sends
    one byte, or the rest of a body that is already answered, would stay for ever.

    A client that does not read is cut off: within `write_seconds` it must take all that waits to be
    sent, or PART_BYTES of it. While nothing waits, as in a quiet stream of events, no time counts.
    """

    seconds = 30.0
    write_seconds = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Whatever waits pauses the writer: the answer's end, which nobody else waits for, too.
        transport.set_write_buffer_limits(high=0)
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_running:
            self._stop_deadline()
        elif self._deadline is None:
            self._start_deadline()

    def on_response_complete(self) -> None:
        self._stop_deadline()
        super().on_response_complete()  # which begins the next request if its head has arrived

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._stop_write_deadline()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_deadline()

    def resume_writing(self) -> None:
        self._stop_write_deadline()
        super().resume_writing()

    def _start_write_deadline(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._write_deadline = self.loop.call_later(self.write_seconds, self._check_reader, waiting)

    def _stop_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _check_reader(self, waited: int) -> None:
        """Cut the client off unless it has read enough of the `waited` bytes."""
        if waited - self.transport.get_write_buffer_size() < PART_BYTES:
            self.transport.abort()  # close() would go on waiting for the reader
        else:
            self._start_write_deadline()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.seconds, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        """Close the connection, after a problem 400 unless an answer has begun: it is not HTTP."""
        if self.conn.our_state in ANSWERABLE:
            body = json.dumps(Problem(400, msg).body()).encode()
            headers = [
                ("content-type", MEDIA_TYPE),
                ("content-length", str(len(body))),
                ("x-request-id", uuid.uuid4().hex),
                ("connection", "close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def _is_running(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def patient_protocol(seconds: float, write_seconds: float) -> type[PatientProtocol]:
    """A PatientProtocol with these deadlines, for `uvicorn.Config(http=...)`, which wants a
    class."""
    deadlines = {"seconds": float(seconds), "write_seconds": float(write_seconds)}
    return type("ConfiguredProtocol", (PatientProtocol,), deadlines)
