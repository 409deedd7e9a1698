"""uvicorn's HTTP/1.1 connections, with a deadline for silent clients and problems for nonsense."""

import asyncio
import json
import uuid

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.http.problems import MEDIA_TYPE, Problem

ANSWERABLE = (h11.IDLE, h11.SEND_RESPONSE)


class PatientProtocol(H11Protocol):
    """A connection on which no request is running must bring the next one's whole head within
    `seconds`. uvicorn's own limit counts only until the first byte, so that a client which sends
    one byte, or goes on sending a body that is already answered, would stay for ever."""

    seconds = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.seconds, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_running:
            self._deadline.cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # and begins the next request, if its head has come
        self._deadline.cancel()
        if not self._is_running:
            self._deadline = self.loop.call_later(self.seconds, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, unless an answer has begun; and end it."""
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


def patient_protocol(seconds: float) -> type[PatientProtocol]:
    """The class for `uvicorn.Config(http=...)`, which makes its instances itself."""
    return type("ConfiguredProtocol", (PatientProtocol,), {"seconds": float(seconds)})
