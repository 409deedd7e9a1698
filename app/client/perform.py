"""Performs the effects of flows with httpx, in a thread or on asyncio's event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import TypeVar

import httpx

from app.client.arguments import shown
from app.client.effects import Answer, Call, Effect, Emit, Flow, Read, Reply, Sleep, resume

T = TypeVar("T")

CONNECT_SECONDS = 10.0
"""The longest time until a connection is made."""


def perform(http: httpx.Client, flow: Flow[T]) -> Generator[T, None, None]:
    """Yield what the flow emits. Closing the generator closes the connection of an open stream."""
    reply: Reply = None
    with closing(_Performer(http)) as performer:
        while (effect := resume(flow, reply)) is not None:
            if isinstance(effect, Emit):
                reply = None
                yield effect.value
            else:
                reply = performer.perform(effect)


async def perform_async(http: httpx.AsyncClient, flow: Flow[T]) -> AsyncGenerator[T, None]:
    """Yield what the flow emits, for asyncio: see `perform`."""
    reply: Reply = None
    async with aclosing(_AsyncPerformer(http)) as performer:
        while (effect := resume(flow, reply)) is not None:
            if isinstance(effect, Emit):
                reply = None
                yield effect.value
            else:
                reply = await performer.perform(effect)


class _Performer:
    """Performs the effects of one flow. Its calls are made one at a time: a call closes the one
    before."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._blocks: Iterator[bytes] = iter(())

    def perform(self, effect: Effect) -> Reply:
        try:
            match effect:
                case Call():
                    return self._call(effect)
                case Read():
                    return next(self._blocks, b"")
                case Sleep(seconds):
                    time.sleep(seconds)
                    return None
        except httpx.TransportError as error:
            return error

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _call(self, call: Call) -> Answer:
        self.close()
        self._response = response = self._http.send(_request(self._http, call), stream=True)
        # The content of an error is short, and the flow wants it at once.
        if call.stream and response.is_success:
            self._blocks = response.iter_bytes()
            return _answer(response, b"")
        return _answer(response, response.read())


class _AsyncPerformer:
    """Performs the effects of one flow on the event loop: see `_Performer`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._blocks: AsyncIterator[bytes]

    async def perform(self, effect: Effect) -> Reply:
        try:
            match effect:
                case Call():
                    return await self._call(effect)
                case Read():
                    return await anext(self._blocks, b"")
                case Sleep(seconds):
                    await asyncio.sleep(seconds)
                    return None
        except httpx.TransportError as error:
            return error

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None

    async def _call(self, call: Call) -> Answer:
        await self.aclose()
        self._response = response = await self._http.send(_request(self._http, call), stream=True)
        if call.stream and response.is_success:
            self._blocks = response.aiter_bytes()
            return _answer(response, b"")
        return _answer(response, await response.aread())


def _request(http: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    if http.is_closed:
        raise RuntimeError("this client is closed; make another")
    timeout = httpx.Timeout(call.seconds, connect=min(call.seconds, CONNECT_SECONDS))
    return http.build_request(
        call.method, call.path, headers=dict(call.headers), json=call.body, timeout=timeout
    )


def _answer(response: httpx.Response, content: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, content, shown(response.url))
