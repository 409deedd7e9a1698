"""A name server that knows one name, which stands for several addresses: Docker's, in small."""

import socket
import struct
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

A, IN, SECONDS = 1, 1, 1
ANSWERS, REFUSED = 0x8180, 0x8185
POINTER_TO_QUESTION = 0xC00C


class NameServer:
    """`with NameServer("replica", ["127.0.0.11"]) as names:`; it listens on `names.port` (UDP)."""

    def __init__(self, name: str, addresses: Sequence[str]) -> None:
        self._name = (
            b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
        )
        self._addresses = [socket.inet_aton(address) for address in addresses]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))  # no question: the end
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            if not query:
                return
            self._socket.sendto(self.answer(query), client)

    def answer(self, query: bytes) -> bytes:
        """The answer to a query of one question (RFC 1035, 4.1); other types have no records."""
        end = query.index(b"\0", 12) + 1
        kind, _ = struct.unpack("!HH", query[end : end + 4])
        is_known = query[12:end].lower() == self._name
        found = self._addresses if is_known and kind == A else []
        flags = ANSWERS if is_known else REFUSED
        header = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        records = [
            struct.pack("!HHHIH", POINTER_TO_QUESTION, A, IN, SECONDS, 4) + each for each in found
        ]
        return header + query[12 : end + 4] + b"".join(records)
