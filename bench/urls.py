"""The site's URLs and those that time commands inside a web worker, where nothing but the dispatch is in the way."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from bench import bulk, statements
from bench.timing import Ask, asked_for, timed
from servers import nodes
from servers.models import Server
from tunnel.dispatch import asend_command

TRUE = {"argv": ["true"]}


async def dispatch(request: HttpRequest) -> JsonResponse:
    """Send commands of one of the KINDS; answer with their seconds and the SQL of this process meanwhile."""
    agents, count, at_once = asked_for(request.GET)
    ask = await KINDS[request.GET.get("kind", "bare")](agents)
    before = statements.counted()
    answer = await timed(ask, agents, count, at_once)
    return JsonResponse({**answer, "statements": statements.counted() - before})


def count_statements(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - a view
    """Answer with how much SQL this process has run."""
    return JsonResponse({"statements": statements.counted()})


async def _bare(_agents: list[str]) -> Ask:
    return lambda agent: asend_command(agent, "GET_STATS")


async def _program(_agents: list[str]) -> Ask:
    return lambda agent: asend_command(agent, "system.exec", TRUE)


async def _node(agents: list[str]) -> Ask:
    """Through the door for servers of every kind, as the panel's own code commands them."""
    servers = {one.agent_id: one async for one in Server.objects.filter(agent_id__in=agents)}

    async def ask(agent: str) -> Any:
        return await nodes.arun(servers[agent], "system", "getUsage")

    return ask


async def _reading(_agents: list[str]) -> Ask:
    """What a command with SQL on its path would look like; the tests ask for it."""

    async def ask(agent: str) -> Any:
        await Server.objects.filter(agent_id=agent).aexists()
        return await asend_command(agent, "GET_STATS")

    return ask


KINDS = {"reading": _reading, "bare": _bare, "exec": _program, "node": _node}

urlpatterns = [
    path("bench/dispatch/", dispatch),
    path("bench/statements/", count_statements),
    path("bench/bulk/start/", bulk.start),
    path("bench/bulk/stop/", bulk.stop),
    path("", include("yumna_panel.urls")),
]
