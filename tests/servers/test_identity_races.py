"""Two people who add a server at the same moment, and what others write into the history of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from servers import credentials, identity
from servers.access import CONSOLE, Narrowed
from servers.models import Server

pytestmark = pytest.mark.django_db


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let somebody else take the agent id after it was judged free and before it is written, so many times."""

    def come(times: int) -> None:
        judge = Server.full_clean
        made: list[Server] = []

        def judge_and_be_late(server: Server, *arguments: Any, **options: Any) -> None:
            judge(server, *arguments, **options)
            if len(made) < times:
                rival = Server(name=f"rival {len(made)}", agent_id=server.agent_id)
                made.append(rival)
                rival.save(force_insert=True)

        monkeypatch.setattr(Server, "full_clean", judge_and_be_late)

    return come


def test_a_suggested_id_that_somebody_else_took_meanwhile_is_replaced_by_the_next(rivals):
    rivals(identity.CREATE_TRIES - 1)
    server, secret = identity.create("web 1")
    assert server.agent_id == "web-1-3"
    assert credentials.matches(secret, server.secret_digest)
    assert sorted(Server.objects.values_list("agent_id", flat=True)) == ["web-1", "web-1-2", "web-1-3"]


def test_somebody_who_is_too_late_each_time_is_told_and_nothing_is_half_made(rivals, root: Any):
    rivals(identity.CREATE_TRIES)
    with pytest.raises(IntegrityError):
        identity.create("web 1", by=root)
    assert not Server.objects.filter(name="web 1").exists()
    assert not LogEntry.objects.exists()


def test_an_id_that_was_asked_for_is_not_replaced_by_another(rivals):
    rivals(1)
    with pytest.raises(ValidationError, match="already exists"):
        identity.create("web 1", agent_id="web-01")
    assert list(Server.objects.values_list("name", "agent_id")) == [("rival 0", "web-01")]


def test_what_a_person_changes_or_deletes_elsewhere_is_told_with_the_person_and_not_with_the_token(
    server: Server, root: Any
):
    token = Narrowed(root, frozenset({"change"}), name="deploy")
    identity.note_change(server, token, "Disconnected.")
    identity.note_deletion(server, token)
    identity.note_change(server, CONSOLE, "nobody with an account")
    assert list(
        LogEntry.objects.order_by("pk").values_list("action_flag", "change_message", "user__username")
    ) == [(CHANGE, "Disconnected.", "root"), (DELETION, "", "root")]
