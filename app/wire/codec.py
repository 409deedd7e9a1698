"""Messages as bytes: a 4-byte big-endian length, then a msgpack map of the message's fields and its
class name. Nothing is pickled.
"""

import dataclasses
import struct
from typing import get_args

import msgpack

from app.wire.messages import Loaded, Message, Submit
from diffusion.fields import from_dict

HEADER = struct.Struct(">I")
MAX_BYTES = 1 << 30
"""Of one message: two pictures of the largest images that are read take less."""


class ProtocolError(ValueError):
    """Bytes that `encode` did not make; the connection that they came from is of no more use."""


KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """A message as it goes over the wire, with its length first."""
    fields = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    if isinstance(message, Loaded):
        fields["info"] = dataclasses.asdict(message.info)
    if isinstance(message, Submit) and message.start is not None:
        fields["start"] = dataclasses.asdict(message.start)
    if isinstance(message, Submit) and message.bound is not None:
        fields["bound"] = dataclasses.asdict(message.bound)
    body: bytes = msgpack.packb({**fields, "kind": type(message).__name__})
    return HEADER.pack(len(body)) + body


def body_size(header: bytes | bytearray) -> int:
    """The bytes of the body that comes after a header. Raises ProtocolError where it is longer than
    any message."""
    (size,) = HEADER.unpack(header)
    if size > MAX_BYTES:
        raise ProtocolError(f"a message of {size} bytes; at most {MAX_BYTES} are allowed")
    return int(size)


def decode(body: bytes) -> Message:
    """The message that `encode` made these bytes of; `body` comes without the length.

    Raises ProtocolError where they are no message, or one with fields of other names or types.
    """
    try:
        fields = msgpack.unpackb(body, use_list=False)
        return from_dict(KINDS[fields.pop("kind")], fields)
    # What is no message makes msgpack and the dataclasses raise errors of many kinds
    except Exception as error:
        raise ProtocolError(f"not a message: {' '.join(str(error).split())[:200]}") from error
