"""uvicorn's HTTP/1.1 connections, with a deadline for slow clients and problems as errors."""

import asyncio
import json
import uuid

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.http.problems import MEDIA_TYPE, Problem
from app.http.security_headers import HEADERS

ANSWERABLE = (h11.IDLE, h11.SEND_RESPONSE)


class PatientProtocol(H11Protocol):
    """A connection that is closed when a request's head does not arrive within `seconds`.

    The time counts from the connection's beginning, and later from the first byte after an answer:
    until then uvicorn's keep-alive timeout counts. That ends at the first byte: a client that sends
    one byte, or the rest of a body that is already answered, would stay for ever.
    """

    seconds = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
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
        super().connection_lost(exc)

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
                *HEADERS.items(),
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


def patient_protocol(seconds: float) -> type[PatientProtocol]:
    """A PatientProtocol with this deadline, for `uvicorn.Config(http=...)`, which wants a class."""
    return type("ConfiguredProtocol", (PatientProtocol,), {"seconds": float(seconds)})
