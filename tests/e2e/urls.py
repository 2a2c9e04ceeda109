"""Views that run a command from a thread and from the event loop of a web worker, or open a stream, and one that looks."""

import asyncio
import hashlib
import json
import os
import struct
import time
from collections.abc import AsyncIterator

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import include, path

from servers import nodes
from servers.access import CONSOLE
from servers.errors import CommandError, StreamLost
from servers.models import Server
from tunnel import presence
from tunnel.dispatch import asend_command, send_command


def run_in_thread(request: HttpRequest, agent_id: str, command: str) -> JsonResponse:
    try:
        data = send_command(agent_id, command, request.GET.dict(), timeout=_timeout(request))
    except CommandError as exc:
        return JsonResponse({"code": exc.code, "ran": exc.ran, "pid": os.getpid()})
    return JsonResponse({"data": data, "pid": os.getpid()})


async def run_on_loop(request: HttpRequest, agent_id: str, command: str) -> JsonResponse:
    try:
        data = await asend_command(agent_id, command, request.GET.dict(), timeout=_timeout(request))
    except CommandError as exc:
        return JsonResponse({"code": exc.code, "ran": exc.ran, "pid": os.getpid()})
    return JsonResponse({"data": data, "pid": os.getpid()})


async def run_recorded(request: HttpRequest, agent_id: str, command: str) -> JsonResponse:
    """Run a command as somebody with a shell on the panel's host, whose commands are recorded."""
    server = await Server.objects.aget(agent_id=agent_id)
    service, _, action = command.partition(".")
    try:
        data = await nodes.arun(server, service, action, actor=CONSOLE, timeout=_timeout(request))
    except CommandError as exc:
        return JsonResponse({"code": exc.code, "ran": exc.ran, "pid": os.getpid()})
    return JsonResponse({"data": data, "pid": os.getpid()})


async def run_bare(request: HttpRequest, agent_id: str, count: int) -> JsonResponse:
    """Run commands without HTTP around each, and say how many seconds each took."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        await asend_command(agent_id, "system.getUsage", timeout=5)
        seconds.append(time.perf_counter() - began)
    return JsonResponse({"seconds": seconds})


async def read_stream(
    request: HttpRequest, agent_id: str, service: str, action: str
) -> StreamingHttpResponse:
    """Pass on what comes of a stream of `?params=`, in which `?type=` is typed first.

    Records of length and bytes: the first is what opened it was answered, and after an empty one stands how it ended,
    both as JSON.
    """
    server = await Server.objects.aget(agent_id=agent_id)
    params, typed = json.loads(request.GET["params"]), request.GET.get("type", "")

    async def records() -> AsyncIterator[bytes]:
        told: dict[str, object] = {"pid": os.getpid()}
        try:
            async with await nodes.open_stream(server, service, action, params, actor=CONSOLE) as stream:
                yield _record(json.dumps(stream.data).encode())
                await stream.write(typed.encode())
                async for piece in stream:
                    yield _record(piece)
                told["end"] = stream.end_detail
        except StreamLost as exc:
            told["lost"] = exc.code
        except CommandError as exc:
            yield _record(b"null")
            told["code"] = exc.code
        yield _record(b"") + json.dumps(told).encode()

    return StreamingHttpResponse(records(), content_type="application/octet-stream")


def _record(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


async def echo_stream(request: HttpRequest, agent_id: str, size: int) -> JsonResponse:
    """Write so many bytes and read them back."""
    server = await Server.objects.aget(agent_id=agent_id)
    sent = os.urandom(1024) * (size // 1024)
    async with await nodes.open_stream(server, "test", "echo", actor=CONSOLE) as stream:
        began = time.perf_counter()

        async def write() -> None:
            await stream.write(sent)
            await stream.write_end()

        writing = asyncio.create_task(write())
        came = await stream.read_all(size)
        await writing
    same = hashlib.sha256(came).digest() == hashlib.sha256(sent).digest()
    seconds = time.perf_counter() - began
    return JsonResponse({"same": same, "end": stream.end_detail, "seconds": seconds, "over": stream.over})


def states(request: HttpRequest) -> JsonResponse:
    """Say how every node is shown, or each of those named by `?id=`."""
    ids = request.GET.getlist("id")
    asked = list(Server.objects.filter(agent_id__in=ids) if ids else Server.objects.all())
    shown = presence.of(asked)
    return JsonResponse({one.agent_id: shown[one.pk].state.value for one in asked})


def _timeout(request: HttpRequest) -> float:
    return float(request.GET.get("timeout", 5))


urlpatterns = [
    path("test/states", states),
    path("test/bare/<agent_id>/<int:count>", run_bare),
    path("test/thread/<agent_id>/<command>", run_in_thread),
    path("test/loop/<agent_id>/<command>", run_on_loop),
    path("test/stream/<agent_id>/<service>/<action>", read_stream),
    path("test/recorded/<agent_id>/<command>", run_recorded),
    path("test/echo/<agent_id>/<int:size>", echo_stream),
    path("", include("yumna_panel.urls")),
]
