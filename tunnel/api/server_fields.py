"""A server as JSON: what is told of one, and what may be said to make or change one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from servers import access
from servers.access import Actor
from servers.models import AGENT_ID_LENGTHS, AGENT_ID_PATTERN, Server, Tag
from servers.text import refuse_hidden_characters, visible
from tunnel import presence
from tunnel.api.fields import Moment, Strict, Text, Whole
from tunnel.presence import Presence, State

MAX_TAGS: Final = 20
MAX_NOTES: Final = 10_000  # characters
MAX_PORT: Final = 65_535
_SHORTEST, _LONGEST = AGENT_ID_LENGTHS
_NAME: Final = {"max_length": 100, "validators": [refuse_hidden_characters]}
_AGENT_ID: Final = {
    "min_length": _SHORTEST,
    "max_length": _LONGEST,
    "validators": [RegexValidator(AGENT_ID_PATTERN)],
}


@dataclass(frozen=True)
class Seen:
    """A server and whether it is there."""

    server: Server
    there: Presence


def seen(servers: Iterable[Server]) -> list[Seen]:
    """Look at servers, in two queries whatever their number; one that was deleted meanwhile is left out."""
    rows = list(servers)
    there = presence.of(rows)
    return [Seen(server, there[server.pk]) for server in rows if server.pk in there]


class ServerFields(serializers.Serializer):
    """Everything told of a server. `state` is whether its tunnel stands, `status` what people decided."""

    agent_id = serializers.CharField(source="server.agent_id")
    name = serializers.CharField(source="server.name")
    connection_type = serializers.ChoiceField(Server.ConnectionType.choices, source="server.connection_type")
    server_type = serializers.ChoiceField(["remote_tunnel", "remote_standard"], source="server.server_type")
    status = serializers.ChoiceField(Server.Status.choices, source="server.status")
    state = serializers.ChoiceField(State.choices, source="there.state.value")
    since = Moment(source="there.since", allow_null=True, help_text="When this state began.")
    reason = serializers.CharField(
        source="there.close_reason", help_text="Why the last session ended; a word."
    )
    reason_detail = serializers.CharField(source="there.close_detail", help_text="What is known beyond that.")
    reason_words = serializers.CharField(source="there.reason", help_text="The same for people.")
    tags = serializers.SerializerMethodField()
    notes = serializers.CharField(source="server.notes")
    host = serializers.CharField(source="server.host")
    port = serializers.IntegerField(source="server.port", allow_null=True)
    username = serializers.CharField(source="server.username")
    agent_version = serializers.CharField(source="server.agent_version")
    rtt_seconds = serializers.FloatField(source="server.rtt_seconds", allow_null=True)
    worker = serializers.CharField(source="there.worker", help_text="That holds, or held, the last session.")
    session = serializers.UUIDField(source="there.session", allow_null=True)
    address = serializers.CharField(source="there.address", help_text="From which the agent dialled.")
    lease_until = Moment(source="there.lease_until", allow_null=True)
    capabilities = serializers.ListField(source="server.capabilities", child=serializers.CharField())
    policy = serializers.DictField(source="server.policy")
    host_facts = serializers.DictField(source="server.host_facts")
    usage = serializers.DictField(source="server.last_usage", allow_null=True)
    usage_at = Moment(source="server.last_usage_at", allow_null=True)
    first_seen = Moment(source="server.first_seen", allow_null=True)
    last_seen = Moment(source="server.last_seen", allow_null=True)
    created_at = Moment(source="server.created_at")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_tags(self, row: Seen) -> list[str]:
        """The tags by name, from the prefetched rows."""
        return sorted(tag.name for tag in row.server.tags.all())


class NewServerFields(ServerFields):
    """The answer to a server's making."""

    secret = serializers.CharField(help_text="For AGENT_SECRET on the node; shown this once.")
    master_url = serializers.CharField(help_text="For MASTER_URL on the node.")


class AddServer(Strict):
    """A new server: its name is enough."""

    name = Text(**_NAME)
    agent_id = Text(required=False, trim_whitespace=False, **_AGENT_ID)
    tags = serializers.ListField(
        child=Text(max_length=50, validators=[refuse_hidden_characters]), max_length=MAX_TAGS, required=False
    )
    notes = Text(max_length=MAX_NOTES, allow_blank=True, required=False)


class ChangeServer(AddServer):
    """What may be changed of a server; members that are missing stay as they are."""

    connection_type = serializers.ChoiceField(Server.ConnectionType.choices)
    host = Text(max_length=255, allow_blank=True, validators=[refuse_hidden_characters])
    port = Whole(min_value=1, max_value=MAX_PORT, allow_null=True)
    username = Text(max_length=64, allow_blank=True, validators=[refuse_hidden_characters])


def set_tags(server: Server, names: list[str], actor: Actor) -> None:
    """Give a server exactly these tags; who may add servers makes those that do not exist, for all servers share them.

    Raises:
        ValidationError: there is no such tag, and the actor may make none.
    """
    wanted = list(dict.fromkeys(names))
    known = {tag.name: tag for tag in Tag.objects.filter(name__in=wanted)}
    new = [name for name in wanted if name not in known]
    if new and not access.may_add(actor):
        raise serializers.ValidationError({"tags": [f"there is no tag {visible(new[0])}"]})
    server.tags.set([known.get(name) or Tag.objects.get_or_create(name=name)[0] for name in wanted])
