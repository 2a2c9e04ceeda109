"""Views that run a command from a thread and from the event loop of a web worker, and one that looks."""

import os
import time

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from servers.errors import CommandError
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


async def run_bare(request: HttpRequest, agent_id: str, count: int) -> JsonResponse:
    """Run commands without HTTP around each, and say how many seconds each took."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        await asend_command(agent_id, "system.getUsage", timeout=5)
        seconds.append(time.perf_counter() - began)
    return JsonResponse({"seconds": seconds})


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
    path("", include("yumna_panel.urls")),
]
