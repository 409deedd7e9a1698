"""The tests' name server answers as a resolver expects."""

import struct

from tests.deploy.name_server import NameServer

QUESTION = b"\x07replica\x00"


def ask(name: bytes, kind: int) -> bytes:
    query = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", kind, 1)
    with NameServer("replica", ["127.0.0.11", "127.0.0.12"]) as names:
        return names.answer(query)


def test_a_name_stands_for_all_its_addresses() -> None:
    answer = ask(QUESTION, 1)
    number, flags, questions, answers = struct.unpack("!HHHH", answer[:8])
    assert (number, flags & 15, questions, answers) == (7, 0, 1, 2)
    assert bytes([127, 0, 0, 11]) in answer and answer.endswith(bytes([127, 0, 0, 12]))


def test_it_has_no_records_of_other_types() -> None:
    assert struct.unpack("!HHHH", ask(QUESTION, 28)[:8])[3] == 0


def test_it_knows_no_other_name() -> None:
    flags, _, answers = struct.unpack("!HHH", ask(b"\x05other\x00", 1)[2:8])
    assert flags & 15 == 5 and answers == 0
