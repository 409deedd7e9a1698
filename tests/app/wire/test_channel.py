"""Messages over a socket, however its bytes are cut, up to the end of the connection."""

import fcntl
import resource
import socket
from collections.abc import Iterator

import pytest

from app.wire.channel import Disconnected, SocketChannel
from app.wire.codec import encode
from app.wire.messages import Cancel, Finished, Message, Pause

MESSAGES: list[Message] = [Cancel("a"), Finished("b", 1, b"\0" * 1000), Pause("c", True)]


@pytest.fixture
def ends() -> Iterator[tuple[SocketChannel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield SocketChannel(ours), theirs


def test_messages_arrive_whole_however_their_bytes_are_cut(
    ends: tuple[SocketChannel, socket.socket],
) -> None:
    channel, other = ends
    received: list[Message] = []
    wire = b"".join(map(encode, MESSAGES))
    for start in range(0, len(wire), 7):
        other.sendall(wire[start : start + 7])
        received += channel.receive(wait=True)
    assert received == MESSAGES


def test_what_is_sent_together_arrives_in_order(ends: tuple[SocketChannel, socket.socket]) -> None:
    channel, other = ends
    channel.send(*MESSAGES)
    channel.send()
    assert list(SocketChannel(other).receive(wait=True)) == MESSAGES


def test_without_waiting_there_may_be_nothing(ends: tuple[SocketChannel, socket.socket]) -> None:
    channel, _ = ends
    assert list(channel.receive(wait=False)) == []


def test_one_thread_may_wait_for_what_another_receives(
    ends: tuple[SocketChannel, socket.socket],
) -> None:
    channel, other = ends
    other.sendall(encode(MESSAGES[0]))
    channel.wait()
    channel.send(MESSAGES[2])
    assert list(channel.receive(wait=False)) == MESSAGES[:1]
    other.close()
    channel.wait()


def test_an_end_that_is_gone_is_told_in_either_direction(
    ends: tuple[SocketChannel, socket.socket],
) -> None:
    channel, other = ends
    other.close()
    with pytest.raises(Disconnected):
        list(channel.receive(wait=True))
    with pytest.raises(Disconnected):
        channel.send(Cancel("a"))


def test_an_end_that_left_with_messages_unread_is_gone_too(
    ends: tuple[SocketChannel, socket.socket],
) -> None:
    channel, other = ends
    channel.send(Cancel("a"))
    other.close()
    with pytest.raises(Disconnected):
        list(channel.receive(wait=True))


def test_a_connection_may_be_the_two_thousandth_file() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this user may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    try:
        ours, theirs = socket.socketpair()
        with theirs:
            high = fcntl.fcntl(ours, fcntl.F_DUPFD, 2000)
            ours.close()
            with socket.socket(fileno=high) as connection:
                theirs.sendall(encode(Cancel("a")))
                assert list(SocketChannel(connection).receive(wait=True)) == [Cancel("a")]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("wire", [b"\xff" * 4, b"\0\0\0\1\xc1"])
def test_an_end_that_sends_no_messages_is_as_good_as_gone(
    wire: bytes, ends: tuple[SocketChannel, socket.socket]
) -> None:
    channel, other = ends
    other.sendall(encode(Cancel("a")) + wire)
    received = []
    with pytest.raises(Disconnected):
        for message in channel.receive(wait=True):
            received.append(message)
    assert received == [Cancel("a")], "what came before is heard"
