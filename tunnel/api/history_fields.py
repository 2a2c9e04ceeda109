"""What happened, as JSON: commands, sessions of agents, and the events on their links."""

from datetime import datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from servers.models import CommandRecord
from tunnel.api.fields import Moment
from tunnel.models import CloseReason, Refusal, RefusalReason, Session

OPENED, CLOSED, REFUSED = "opened", "closed", "refused"


class CommandFields(serializers.Serializer):
    """A command somebody gave. Its reply is not kept."""

    id = serializers.UUIDField()
    server = serializers.SerializerMethodField(help_text="The agent ID; null when the server was deleted.")
    server_name = serializers.CharField()
    service = serializers.CharField()
    action = serializers.CharField()
    params = serializers.DictField(help_text="Without what is not kept: secrets, input, what is too long.")
    actor = serializers.CharField(help_text="Who gave it.")
    state = serializers.ChoiceField(CommandRecord.State.choices)
    code = serializers.CharField(help_text="Why it did not succeed; a code of problems.")
    error = serializers.CharField()
    created_at = Moment()
    finished_at = Moment(allow_null=True)
    duration_seconds = serializers.FloatField(allow_null=True)

    @extend_schema_field({"type": ["string", "null"]})
    def get_server(self, command: CommandRecord) -> str | None:
        """The agent id."""
        return command.server.agent_id if command.server else None


class SessionFields(serializers.Serializer):
    """One life of an agent's connection."""

    id = serializers.UUIDField()
    server = serializers.CharField(source="server.agent_id", help_text="The agent ID.")
    server_name = serializers.CharField(source="server.name")
    worker = serializers.CharField(source="worker.__str__")
    address = serializers.CharField(allow_null=True)
    basic = serializers.BooleanField(help_text="Whether it is an agent without HELLO.")
    opened_at = Moment()
    closed_at = Moment(allow_null=True)
    reason = serializers.ChoiceField(
        CloseReason.choices, source="close_reason", allow_blank=True, help_text="Why it ended."
    )
    reason_words = serializers.SerializerMethodField()
    detail = serializers.CharField(source="close_detail")
    agent_reason = serializers.CharField(help_text="Why the session before ended, as seen from the node.")
    agent_away_seconds = serializers.FloatField(allow_null=True)

    @extend_schema_field(OpenApiTypes.STR)
    def get_reason_words(self, session: Session) -> str:
        """The reason for people."""
        return str(CloseReason(session.close_reason).label) if session.close_reason else ""


class EventFields(serializers.Serializer):
    """Something that happened on the link of a server."""

    kind = serializers.ChoiceField([OPENED, CLOSED, REFUSED])
    at = Moment()
    server = serializers.CharField(help_text="The agent ID.")
    server_name = serializers.CharField()
    session = serializers.UUIDField(allow_null=True)
    address = serializers.CharField(help_text="From which the agent dialled.")
    reason = serializers.ChoiceField(
        [*CloseReason.values, *RefusalReason.values], allow_blank=True, help_text="Of an end or a refusal."
    )
    reason_words = serializers.CharField()
    detail = serializers.CharField()
    times = serializers.IntegerField(help_text="How many alike refusals from there, this being the last.")


def event(kind: str, row: Session | Refusal) -> dict[str, Any]:
    """Return the event that a row stands for."""
    if isinstance(row, Refusal):
        reason = str(RefusalReason(row.reason).label)
        return _event(kind, row.last_at, row, reason=row.reason, reason_words=reason, times=row.times)
    if kind == OPENED:
        return _event(kind, row.opened_at, row, session=row.pk)
    words = str(CloseReason(row.close_reason).label) if row.close_reason else ""
    return _event(
        kind,
        row.closed_at,
        row,
        session=row.pk,
        reason=row.close_reason,
        reason_words=words,
        detail=row.close_detail,
    )


def _event(kind: str, at: datetime | None, row: Session | Refusal, **facts: Any) -> dict[str, Any]:
    usual = {"session": None, "reason": "", "reason_words": "", "detail": "", "times": 1}
    there = {"server": row.server.agent_id, "server_name": row.server.name, "address": row.address or ""}
    return {"kind": kind, "at": at} | there | usual | facts
