"""Schemathesis calls every operation as the document says, and as it does not: nothing fails, nothing lies.

One of its checks is left out: that all that fits the document is taken. No schema says which cursors are ours, or which
characters Unicode calls hidden.
"""

from typing import Any

import pytest
import schemathesis
from django.utils import timezone
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import just, tuples
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from servers import tokens
from servers.models import CommandRecord, Server
from tests.api.conftest import V1
from tests.servers.conftest import Wire
from tunnel.api.schema import document
from tunnel.models import Session, Worker
from yumna_panel.wsgi import application

pytestmark = pytest.mark.django_db(transaction=True)
SEED = 20_261_125
EXAMPLES = 6  # an operation and person; more find little and take long
OPERATIONS = [(path, method) for path, methods in document(V1)["paths"].items() for method in methods]
EXAMPLE = settings(
    max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def rows(wire: Wire, root: Any) -> dict[str, Any]:
    """Things to find: a server that answers, a command, a session."""
    server = Server.objects.create(name="wired", agent_id="wired-1", connection_type="http")
    worker = Worker.objects.create(inbox="w", host="h", pid=1, lease_until=timezone.now())
    command = CommandRecord.objects.create(server=server, server_name="wired", service="s", action="a")
    session = Session.objects.create(server=server, worker=worker, secret_version=1)
    return {"agent_id": "wired-1", "commands": command.pk, "sessions": session.pk}


@pytest.fixture(params=["everything", "nothing", "anonymous"])
def headers(request: pytest.FixtureRequest, root: Any, person: Any) -> dict[str, str]:
    if request.param == "anonymous":
        return {}
    user = root if request.param == "everything" else person("rotate_secret", username="poor")
    token = tokens.create(user, "fuzz", ["view"] if user != root else tokens.offered(user))[1]
    if user != root:
        user.user_permissions.clear()
    return {"Authorization": f"Token {token}"}


def _cases(operation: Any) -> Any:
    """Say things as described and, where anything can be said at all, as not described."""
    right = tuples(just(True), operation.as_strategy())
    silent = not (operation.query or operation.headers or operation.body) and "servers" not in operation.path
    if silent:
        return right
    return right | tuples(just(False), operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_whatever_is_sent_is_answered_as_described(
    rows: dict[str, Any], headers: dict[str, str], path: str, method: str
):
    schema = schemathesis.openapi.from_dict(document(V1))
    schema.app = application
    operation = schema[path][method.upper()]
    known = {
        "agent_id": rows["agent_id"],
        "id": str(rows["commands" if "commands" in path else "sessions"]),
        "code": "not_connected",
    }

    @seed(SEED)
    @EXAMPLE
    @given(drawn=_cases(operation))
    def run(drawn: tuple[bool, Any]) -> None:
        as_described, case = drawn
        call(case)
        if as_described:
            case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
            call(case)

    def call(case: Any) -> None:
        Server.objects.filter(name="wired").exclude(agent_id="wired-1").delete()  # it was renamed
        Server.objects.get_or_create(
            agent_id="wired-1", defaults={"name": "wired", "connection_type": "http"}
        )
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    run()
