"""Who knocks at every route: nobody in particular, each right alone, Django's own permissions, everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from servers import tokens, transports
from servers.models import ApiToken, CommandRecord, Grant, Server, ServerGroup, Tag
from servers.rights import PERMISSIONS
from tests.servers.conftest import Wire
from tunnel.models import Recording, Refusal, RefusalReason, Session, Shell, Worker

NAME = "Zebra-7 of this world"  # stands in no page of its own
AGENT_ID = "agent-zebra"
ELSEWHERE = "agent-else"

# Django's own permissions count for all servers, and for groups, grants and tags.
HOLDERS: dict[str, tuple[str, ...]] = {
    "adder": ("add_server",),
    "remover": ("delete_server",),
    "granter": tuple(
        f"{verb}_{what}" for what in ("servergroup", "grant") for verb in ("view", "add", "change", "delete")
    ),
    "tagger": ("view_tag", "add_tag", "change_tag", "delete_tag"),
}
STRANGERS = ("anonymous", "visitor", "staff", "elsewhere")
PEOPLE = (*STRANGERS, *HOLDERS, *PERMISSIONS, "superuser")

# Sets of them, for the table.
NOBODY: frozenset[str] = frozenset()
ANYBODY = frozenset(PEOPLE)
LOGGED_IN = ANYBODY - {"anonymous"}
STAFF = LOGGED_IN - {"visitor"}
# The remover holds a grant to view as well: to delete is Django's permission, and only of what one sees.
SEEING = frozenset({*PERMISSIONS, "remover", "superuser"})
SOMEWHERE = SEEING | {"elsewhere"}


def holding(right: str) -> frozenset[str]:
    """Who holds a right on the servers of the group."""
    return frozenset({right, "superuser"})


@dataclass
class World:
    """One server in a group, one elsewhere, history of the first, and everybody."""

    browsers: dict[str, Client] = field(default_factory=dict)
    grants: dict[Any, list[str]] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Make again what the request before took away or changed, and return the parameters of routes."""
        server, group = self.server(), self.group()
        group.servers.set([server])
        worker, _ = Worker.objects.get_or_create(
            inbox="inbox", defaults={"host": "h", "pid": 1, "lease_until": timezone.now()}
        )
        session, _ = Session.objects.get_or_create(
            server=server, defaults={"worker": worker, "secret_version": 1}
        )
        refusal, _ = Refusal.objects.get_or_create(
            server=server, reason=RefusalReason.WRONG_SECRET, address="203.0.113.9"
        )
        command = CommandRecord.objects.filter(server=server).first() or CommandRecord.objects.create(
            server=server, server_name=NAME, service="system", action="exec", actor="zoe"
        )
        return {
            "server": server.pk,
            "agent": server.agent_id,
            "version": server.secret_version,
            "session": session.pk,
            "refusal": refusal.pk,
            "shell": Shell.objects.get_or_create(server=server, handle="h")[0].pk,
            "recording": self.recording(server).pk,
            "commandrecord": command.pk,
            "servergroup": group.pk,
            "apitoken": self.token().pk,
            "tag": Tag.objects.get_or_create(name="striped")[0].pk,
        }

    def server(self) -> Server:
        """The server of the group; of a type that a wire without a wire reaches."""
        Server.objects.exclude(agent_id__in=(AGENT_ID, ELSEWHERE)).delete()
        Server.objects.filter(agent_id=AGENT_ID).update(name=NAME, status=Server.Status.UNKNOWN)
        facts = {"name": NAME, "connection_type": "http"}
        return Server.objects.get_or_create(agent_id=AGENT_ID, defaults=facts)[0]

    def recording(self, server: Server) -> Recording:
        """A recording of a shell there, which has not written anything yet."""
        there = Recording.objects.filter(server=server).order_by("pk").first()
        return there or Recording.objects.create(server=server, cols=80, rows=24)

    def token(self) -> ApiToken:
        """A token of the superuser."""
        root = get_user_model().objects.get(username="superuser")
        return ApiToken.objects.filter(user=root).first() or tokens.create(root, "robot", ["view"])[0]

    def group(self) -> ServerGroup:
        """The group with all its grants."""
        group, made = ServerGroup.objects.get_or_create(name="ours")
        if made:
            for user, words in self.grants.items():
                Grant.objects.create(server_group=group, user_id=user, permissions=words)
        return group


def make_world() -> World:
    """Make the servers, the people and their rights."""
    transports.register("http", Wire())
    world = World()
    theirs = ServerGroup.objects.create(name="theirs")
    theirs.servers.add(Server.objects.create(name="Somewhere else", agent_id=ELSEWHERE))
    for name in PEOPLE:
        world.browsers[name] = Client()
        if name == "anonymous":
            continue
        user = _person(name)
        world.browsers[name].force_login(user)
        if name == "elsewhere":
            Grant.objects.create(server_group=theirs, user=user, permissions=list(PERMISSIONS))
        if name in PERMISSIONS or name == "remover":
            world.grants[user.pk] = ["view" if name == "remover" else name]
    return world


def _person(name: str) -> Any:
    user = get_user_model().objects.create(
        username=name, is_staff=name != "visitor", is_superuser=name == "superuser", password="!"
    )
    found = Permission.objects.filter(content_type__app_label="servers", codename__in=HOLDERS.get(name, ()))
    assert found.count() == len(HOLDERS.get(name, ()))
    user.user_permissions.set(found)
    return user
