"""Messages over a blocking socket: an engine's end of the connection to its API process."""

import select
import socket
from collections.abc import Iterator

from app.wire.codec import HEADER, ProtocolError, body_size, decode, encode
from app.wire.messages import Message


class Disconnected(Exception):
    """There is nobody at the other end any more, or nobody who sends messages."""


class SocketChannel:
    """Sends and receives messages. Its methods raise Disconnected once the other end is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        # Not select, which knows the first 1024 files only: the API process may have many open, and
        # its end's number is the number here.
        self._ready = select.poll()
        self._ready.register(connection, select.POLLIN)

    def send(self, *messages: Message) -> None:
        """Send them all at once: each time that the API process wakes takes time from the
        network."""
        if not messages:
            return
        try:
            self._connection.sendall(b"".join(map(encode, messages)))
        except OSError as error:
            raise Disconnected from error

    def wait(self) -> None:
        """Return once something has arrived, or the other end is gone. Others may send meanwhile,
        but not receive."""
        self._ready.poll()

    def receive(self, *, wait: bool) -> Iterator[Message]:
        """Yield what has arrived; with `wait`, at least something."""
        if self._ready.poll(None if wait else 0):
            try:
                received = self._connection.recv(1 << 20)
            except ConnectionError as error:  # it went away with messages unread
                raise Disconnected from error
            if not received:
                raise Disconnected
            self._buffer += received
        try:
            yield from self._whole()
        except ProtocolError as error:
            raise Disconnected from error

    def _whole(self) -> Iterator[Message]:
        """Take the messages out of the buffer that are there as a whole."""
        while len(self._buffer) >= HEADER.size:
            end = HEADER.size + body_size(self._buffer[: HEADER.size])
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield decode(body)
