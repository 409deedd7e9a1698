"""How a flow is resumed: with a reply, with an error, and past its end."""

import httpx
import pytest

from app.client.effects import Answer, Call, Emit, Flow, Read, resume

RESET = httpx.ReadError("the connection was reset")


def two_calls() -> Flow[object]:
    try:
        answer = yield Call("GET", "/model")
        yield Emit(answer)
        yield Read()
    except httpx.TransportError as error:
        yield Emit(error)


def test_a_flow_is_sent_the_reply_to_its_effect() -> None:
    flow, answer = two_calls(), Answer(200, {})
    assert resume(flow, None) == Call("GET", "/model")
    assert resume(flow, answer) == Emit(answer)
    assert resume(flow, None) == Read()


def test_an_error_is_thrown_into_the_flow_which_may_go_on() -> None:
    flow = two_calls()
    resume(flow, None)
    assert resume(flow, RESET) == Emit(RESET)
    assert resume(flow, None) is None, "its end"


def test_an_error_that_the_flow_does_not_expect_is_raised() -> None:
    def careless() -> Flow[object]:
        yield Read()

    flow = careless()
    resume(flow, None)
    with pytest.raises(httpx.ReadError):
        resume(flow, RESET)
