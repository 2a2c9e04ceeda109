"""The floor as an ASGI application: a worker that asks its agents over their sockets, with nothing of ours between."""

import asyncio
import json
import uuid
from typing import Any
from urllib.parse import parse_qsl

from bench.timing import asked_for, timed

Message = dict[str, Any]
ACK = '{"type":"HANDSHAKE_ACK"}'  # that is what a light agent waits for

_sockets: dict[str, Any] = {}
_asked: dict[str, "asyncio.Future[Any]"] = {}


async def application(scope: Message, receive: Any, send: Any) -> None:
    """Hold sockets, or time commands to them."""
    if scope["type"] == "websocket":
        await _hold(scope, receive, send)
    elif scope["type"] == "http":
        await answer(send, await timed(_ask, *asked_for(query(scope))))


async def answer(send: Any, content: object) -> None:
    """Answer an HTTP request with JSON."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def query(scope: Message) -> dict[str, str]:
    """Return the query of a request."""
    return dict(parse_qsl(scope["query_string"].decode()))


def agent_id(scope: Message) -> str:
    """Return what an agent calls itself."""
    return str(dict(scope["headers"])[b"x-agent-id"].decode())


async def _hold(scope: Message, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": ACK})
    _sockets[agent_id(scope)] = send
    while (message := await receive())["type"] == "websocket.receive":
        reply = json.loads(message["text"])
        waiting = _asked.pop(reply.get("requestId"), None)
        if waiting is not None:
            waiting.set_result(reply["data"])


async def _ask(agent: str) -> Any:
    key = str(uuid.uuid4())
    answered = _asked[key] = asyncio.get_running_loop().create_future()
    command = {"type": "GET_STATS", "id": key}
    await _sockets[agent]({"type": "websocket.send", "text": json.dumps(command, separators=(",", ":"))})
    return await answered
