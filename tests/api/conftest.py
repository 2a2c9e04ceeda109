"""What the tests of the REST interface stand on: people, their tokens, and a program that shows one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from servers import tokens
from tests.servers.conftest import (  # noqa: F401 - fixtures
    Wire,
    english,
    person,
    root,
    server,
    wire,
    wired,
)

V1 = "/api/tunnel/v1/"


@pytest.fixture(autouse=True)
def no_throttle(settings: Any) -> None:
    """Let no test be throttled for what another one did."""
    settings.TUNNEL_API_READS_A_MINUTE = settings.TUNNEL_API_COMMANDS_A_MINUTE = 0


@dataclass
class Program:
    """Calls the REST interface as a program does, with a token."""

    token: str = ""
    client: Client = field(default_factory=lambda: Client(enforce_csrf_checks=True))

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        if self.token:
            headers["Authorization"] = f"Token {self.token}"
        data = body if isinstance(body, str | bytes) else "" if body is None else json.dumps(body)
        kind = headers.pop("content_type", "application/json")
        return self.client.generic(method, V1 + path, data, kind, headers=headers)

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("POST", path, body, **headers)


@pytest.fixture
def program() -> Callable[..., Program]:
    """Make a program that acts for a user with these scopes, on all servers or on those of some groups."""

    def make(user: Any, *scopes: str, groups: Any = None) -> Program:
        return Program(tokens.create(user, "test", scopes or tokens.offered(user), groups=groups)[1])

    return make


@pytest.fixture
def admin(root: Any, program: Callable[..., Program]) -> Program:  # noqa: F811 - the fixture
    """A program that may do everything."""
    return program(root)


def problem(response: Any) -> tuple[int, str]:
    """Return status and code of a problem, and look that it is one."""
    assert response["Content-Type"] == "application/problem+json", response.content
    body = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"{V1}problems/{body['code']}/"
    assert set(body) >= {"type", "title", "status", "detail", "code", "instance"}
    return response.status_code, body["code"]
