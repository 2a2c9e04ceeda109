"""`servers/<agent_id>/commands/`: one command, through the one door, waited for on the event loop."""

import asyncio
import time
import uuid
from dataclasses import dataclass, replace
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from servers import nodes
from servers.errors import CommandError
from servers.models import Server
from tunnel.api import codes, problems
from tunnel.api.documented import AGENT_ID, COMMAND_PROBLEMS, IDEMPOTENCY_KEY
from tunnel.api.fields import Number, Strict, Text
from tunnel.api.idempotency import Claim, claim
from tunnel.api.problems import Problem
from tunnel.api.server_views import valid
from tunnel.api.views import AsyncApiView, one_server

LONGEST: Final = 30.0  # seconds; proxies in front of a panel give up at 60
SHORTEST: Final = 0.1
UNSEEN: Final = "its end was not seen by who answered; commands/<id>/ has what is known, look on the node before you repeat it"
MAX_WORD: Final = 64  # characters of a service and an action; what the history keeps


class GiveCommand(Strict):
    """What to run."""

    service = Text(max_length=MAX_WORD)
    action = Text(max_length=MAX_WORD)
    params = serializers.DictField(required=False, help_text="The action's parameters, docs/protocol.md §5.")
    timeout = Number(
        min_value=SHORTEST,
        max_value=LONGEST,
        required=False,
        help_text="Seconds it may take on the node; 10 if not given.",
    )


class ReplyFields(serializers.Serializer):
    """What a command answered."""

    id = serializers.UUIDField(help_text="The command's, under which the history has it.")
    service = serializers.CharField()
    action = serializers.CharField()
    data = serializers.JSONField(help_text="The answer of the node.", allow_null=True)
    duration_seconds = serializers.FloatField()


@dataclass(frozen=True)
class _Order:
    server: Server
    id: uuid.UUID
    given: dict[str, Any]
    claim: Claim
    began: float  # on the monotonic clock
    admitted: nodes.Admitted | CommandError | None = None  # or why not; None when there is a reply already


class ServerCommands(AsyncApiView):
    """Runs one command on one server."""

    lane = nodes.recording  # what only reads elsewhere must not stand behind a writer

    def prepare(self, request: Any, agent_id: str) -> _Order:
        """Judge the caller and the command, take its idempotency key and record it: each turn in a thread costs time."""
        began = time.monotonic()
        server = one_server(self.actor, agent_id, "run_command")
        given = valid(GiveCommand(data=request.data))
        command = uuid.uuid4()
        order = _Order(server, command, given, claim(request, server, command), began)
        if order.claim.reply is not None:
            return order
        try:
            what = given["service"], given["action"], given.get("params")
            return replace(order, admitted=nodes.admit(server, *what, actor=self.actor, command_id=command))
        except CommandError as exc:
            return replace(order, admitted=exc)
        except BaseException:
            order.claim.give_back()
            raise

    async def give_up(self, order: _Order) -> None:
        """Nothing was sent: who asks again with the same key may."""
        if isinstance(order.admitted, nodes.Admitted):
            await order.admitted.call_off()
        await order.claim.release()

    @extend_schema(
        operation_id="run_command",
        parameters=[AGENT_ID, IDEMPOTENCY_KEY],
        request=GiveCommand,
        responses={200: ReplyFields, **COMMAND_PROBLEMS},
    )
    async def post(self, request: Any, order: _Order) -> Response:
        """Run one action of one service on a server and wait for its reply, at most 31 seconds."""
        if order.claim.reply is not None:
            return order.claim.reply
        try:
            response = await _run(order)
        except CommandError as exc:
            problem = problems.of_command(exc, id=str(order.id))
            response = problems.handle(problem, {"request": request})
            await (order.claim.release() if exc.ran == "no" else order.claim.keep(response))
        except BaseException:
            # The caller hung up, or the panel failed: whoever asks again with this key is told, and nothing runs twice.
            unseen = Problem(codes.INTERNAL, UNSEEN, status=500, ran="unknown", id=str(order.id))
            keeping = order.claim.keep(problems.handle(unseen, {"request": request}))
            await asyncio.shield(asyncio.ensure_future(keeping))
            raise
        else:
            await order.claim.keep(response)
        return response


async def _run(order: _Order) -> Response:
    given, admitted = order.given, order.admitted
    if not isinstance(admitted, nodes.Admitted):
        assert admitted is not None  # noqa: S101 - without a reply there is one or the other
        raise admitted
    data = await admitted.arun(given.get("timeout", nodes.TIMEOUT))
    return Response(
        {
            "id": str(order.id),
            "service": given["service"],
            "action": given["action"],
            "data": data,
            "duration_seconds": round(time.monotonic() - order.began, 6),
        }
    )
