"""What the tests of the servers stand on: rows, people with one permission each, and a transport that does as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import translation

from servers import identity, transports
from servers.models import Server


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """A page in another language leaves it switched on in the thread that made it."""
    with translation.override("en"):
        yield


@pytest.fixture
def server(db: None) -> Server:
    return identity.create("Home server", agent_id="agent-home-server")[0]


@pytest.fixture
def person(db: None) -> Callable[..., Any]:
    """Make a staff member with these permissions of the app `servers`, and no others."""

    def make(*codenames: str, **facts: Any) -> Any:
        facts = {"username": "-".join(codenames) or "nobody", "is_staff": True} | facts
        user = get_user_model().objects.create_user(**facts)
        found = Permission.objects.filter(codename__in=codenames, content_type__app_label="servers")
        assert found.count() == len(codenames)
        user.user_permissions.set(found)
        return user

    return make


@pytest.fixture
def root(person: Callable[..., Any]) -> Any:
    return person(username="root", is_superuser=True)


@pytest.fixture
def browser(root: Any) -> Client:
    """A browser in which a superuser is logged in."""
    client = Client()
    client.force_login(root)
    return client


@dataclass
class Flow:
    """A stream in which nothing flows; it keeps what ended it."""

    data: Any = None
    number: int = 1
    ended_with: str = ""
    end_detail: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        return bool(self.ended_with)

    async def reset(self, code: str = "cancelled", error: str = "") -> None:
        self.ended_with = self.ended_with or code


@dataclass
class Wire:
    """A transport without a wire: it keeps what it was given and answers what it is told to."""

    answer: Callable[..., Any] = lambda **_: {"ok": True}
    name: str = "wire"
    sent: list[dict[str, Any]] = field(default_factory=list)

    def run(
        self, server: Server, service: str, action: str, params: Any, *, timeout: float, command_id: str
    ) -> Any:
        command = {"server": server, "service": service, "action": action, "params": params}
        self.sent.append(command | {"timeout": timeout, "id": command_id})
        return self.answer(**self.sent[-1])

    async def arun(
        self, server: Server, service: str, action: str, params: Any, *, timeout: float, command_id: str
    ) -> Any:
        data = self.run(server, service, action, params, timeout=timeout, command_id=command_id)
        return await data if asyncio.iscoroutine(data) else data

    async def open_stream(
        self,
        server: Server,
        service: str,
        action: str,
        params: Any,
        *,
        timeout: float,
        command_id: str,
        window: int,
    ) -> Flow:
        params = params | {"window": window}
        data = await self.arun(server, service, action, params, timeout=timeout, command_id=command_id)
        return Flow(data)

    def capabilities(self, server: Server) -> list[str]:
        return ["system"]


@pytest.fixture
def wire() -> Iterator[Wire]:
    """The transport of servers of type `http` during one test."""
    before = transports.for_server(Server(connection_type="http"))
    made = Wire()
    transports.register("http", made)
    yield made
    transports.register("http", before)


@pytest.fixture
def wired(wire: Wire, db: None) -> Server:
    """A server that is reached over `wire`."""
    return Server.objects.create(name="wired", agent_id="wired-1", connection_type="http")
