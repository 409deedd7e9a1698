"""uvicorn's HTTP/1.1 connections, with deadlines for slow clients, a limit to their number, and
problems as errors."""

import asyncio
import json
import logging
import resource
import sys
import time
import uuid
from http import HTTPStatus
from typing import Self

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.http.problems import MEDIA_TYPE, Problem
from app.http.security_headers import HEADERS

ANSWERABLE = (h11.IDLE, h11.SEND_RESPONSE)
OWN_FILES = 128
"""Files that are kept free of connections, for engines, jobs and pages."""
TOO_MANY = "the server has too many connections; close some, or try again"
TELL_SECONDS = 60.0
"""How often the log says that there are too many connections."""
PART_BYTES = 256 << 10
"""The bytes of an answer that a client must take in `write_seconds`: those of a large block."""
CLOSE_SECONDS = 1.0
"""Time that a client has for its part in the end of a connection over TLS, which one that is idle
does not see before it asks again; the default of 30 s would be how long the server takes to stop.
"""
MAX_CHUNKS = 1000
"""Chunks of one body. Each costs as much as a small request, so that a body of single bytes would
take seconds, in which nobody else is answered."""
log = logging.getLogger("ddpm.server")


class ConnectionLimit:
    """How many connections a server has at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._told_at = -TELL_SECONDS

    @classmethod
    def of_this_process(cls) -> Self:
        """For as many as it may open files, without those that it needs itself."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(sys.maxsize if files == resource.RLIM_INFINITY else files - own_files(files))

    def has_for(self, count: int) -> bool:
        """Is there room for so many? If not, the log says so, now and then."""
        if count <= self.most:
            return True
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = time.monotonic()
            log.warning(
                "there are %d connections, and no room for more: others are refused; more open "
                "files (ulimit -n) allow more",
                self.most,
            )
        return False


def own_files(files: int) -> int:
    """The number of files that are kept free of connections, where so many may be open."""
    return min(OWN_FILES, files // 2)


class FrugalConnection(h11.Connection):
    """An HTTP/1.1 connection on which a body has at most MAX_CHUNKS chunks.

    `objection` says why `next_event` has raised RemoteProtocolError, if it is that.
    """

    objection: str | None = None
    _chunks = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event; a chunk too many is no HTTP to us. Raises RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._chunks += 1
            if self._chunks > MAX_CHUNKS:
                self.objection = f"the body has more than {MAX_CHUNKS} chunks; send larger ones"
                raise h11.RemoteProtocolError(self.objection)
        return event


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
    limit = ConnectionLimit(sys.maxsize)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.conn: FrugalConnection = FrugalConnection(h11.SERVER)
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._close_deadline: asyncio.TimerHandle | None = None
        # Whatever waits pauses the writer: the answer's end, which nobody else waits for, too. Over
        # TLS the handshake's end may wait already, and a limit of 0 would pause when nothing does.
        transport.set_write_buffer_limits(high=1, low=0)
        if self.limit.has_for(len(self.connections)):
            self._start_deadline()
        else:
            self._refuse(Problem(503, TOO_MANY, headers={"Retry-After": "1"}))

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
        if self._close_deadline is not None:
            self._close_deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        self._end_soon()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._end_soon()

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

    def _end_soon(self) -> None:
        """If the connection is being closed, end it soon, whatever the client does."""
        if self.transport.is_closing():
            self._close_deadline = self.loop.call_later(CLOSE_SECONDS, self._end)

    def _end(self) -> None:
        """End the connection, unless the end of an answer is still being sent: that has a deadline
        of its own."""
        if self.transport.get_write_buffer_size() == 0:
            self.transport.abort()
        else:
            self._end_soon()

    def _close(self) -> None:
        self.transport.close()
        self._end_soon()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.seconds, self._close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        """Close the connection, after a problem 400 unless an answer has begun: it is not HTTP."""
        if self.conn.our_state in ANSWERABLE:
            self._refuse(Problem(400, self.conn.objection or msg))
        self._close()

    def _refuse(self, problem: Problem) -> None:
        """Answer without looking at a request, and close the connection."""
        body = json.dumps(problem.body()).encode()
        headers = [
            ("content-type", MEDIA_TYPE),
            ("content-length", str(len(body))),
            ("x-request-id", uuid.uuid4().hex),
            ("connection", "close"),
            *HEADERS.items(),
            *(problem.headers or {}).items(),
        ]
        reason = HTTPStatus(problem.status).phrase.encode()
        events = (
            h11.Response(status_code=problem.status, headers=headers, reason=reason),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self._close()

    @property
    def _is_running(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def patient_protocol(
    seconds: float, write_seconds: float, limit: ConnectionLimit
) -> type[PatientProtocol]:
    """A PatientProtocol with these deadlines and this limit, for `uvicorn.Config(http=...)`, which
    wants a class."""
    values = {"seconds": float(seconds), "write_seconds": float(write_seconds), "limit": limit}
    return type("ConfiguredProtocol", (PatientProtocol,), values)
