"""The one door to streams: who may open them, what is written, and who may keep them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from servers import access, errors, identity, nodes, tokens, watching
from servers.models import CommandRecord, Grant, Server, ServerGroup
from tests.servers.conftest import Flow, Wire

pytestmark = pytest.mark.django_db(transaction=True)


async def made(function: Callable[..., Any], *arguments: Any, **facts: Any) -> Any:
    return await asyncio.to_thread(function, *arguments, **facts)


async def open_shell(server: Server, actor: Any, **options: Any) -> Flow:
    stream = await nodes.open_stream(server, "shell", "open", {"cols": 80}, actor=actor, **options)
    assert isinstance(stream, Flow)
    return stream


# Who may open --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "needed"),
    [
        ("shell", "open_shell"),
        ("forward", "forward_port"),
        ("system", "run_command"),
        ("agent", "run_command"),
        ("a-service-of-somebody", "run_command"),
    ],
)
async def test_each_service_asks_for_its_permission_and_takes_no_other(
    wired: Server, wire: Wire, person: Callable[..., Any], service: str, needed: str
):
    others = {"run_command", "open_shell", "forward_port", "change_server"} - {needed}
    holder, other = await made(person, needed), await made(person, *others)
    for call in (nodes.open_stream, nodes.arun):
        with pytest.raises(errors.NotAllowed):
            await call(wired, service, "open", actor=other)
        assert wire.sent == []
        assert await call(wired, service, "open", actor=holder)
        wire.sent.clear()


@pytest.mark.parametrize("action", ["list", "resize", "close"])
async def test_what_reaches_the_shells_of_others_asks_for_the_right_to_change_besides(
    wired: Server, wire: Wire, person: Callable[..., Any], action: str
):
    one, both = await made(person, "open_shell"), await made(person, "open_shell", "change_server")
    with pytest.raises(errors.NotAllowed):
        await nodes.arun(wired, "shell", action, {"handle": "of somebody"}, actor=one)
    with pytest.raises(errors.NotAllowed):
        await made(nodes.run, wired, "shell", action, {"handle": "of somebody"}, actor=one)
    assert wire.sent == []
    await nodes.arun(wired, "shell", action, {"handle": "of somebody"}, actor=both)
    await nodes.arun(wired, "shell", action, {"handle": "its own"}, actor=one, own=True)
    assert len(wire.sent) == 2


async def test_a_shell_at_pipes_is_recorded_no_more_than_a_command_and_asks_for_that_right_too(
    wired: Server, wire: Wire, person: Callable[..., Any]
):
    both = await made(person, "open_shell", "run_command")
    for right in ("open_shell", "run_command"):
        with pytest.raises(errors.NotAllowed):
            await nodes.open_stream(wired, "shell", "pipe", actor=await made(person, right, username=right))
    assert wire.sent == []
    assert await nodes.open_stream(wired, "shell", "pipe", actor=both)


async def test_another_permission_can_be_asked_for_besides(
    wired: Server, wire: Wire, person: Callable[..., Any]
):
    one = await made(person, "open_shell")
    both = await made(person, "open_shell", "change_server")
    alone = await made(person, "change_server")
    for actor in (one, alone):
        with pytest.raises(errors.NotAllowed):
            await open_shell(wired, actor, perm="change")
    assert wire.sent == []
    await open_shell(wired, both, perm="change")


async def test_a_suspended_server_opens_nothing(wired: Server, wire: Wire, root: Any):
    await made(identity.suspend, wired)
    with pytest.raises(errors.NotAllowed, match="suspended"):
        await open_shell(wired, root)
    assert wire.sent == []


# What is written -----------------------------------------------------------------------------------------------


async def test_an_opened_stream_is_recorded_as_a_command_that_succeeded(wired: Server, wire: Wire, root: Any):
    wire.answer = lambda **_: {"handle": "h1"}
    stream = await open_shell(wired, root, window=1000)
    assert stream.data == {"handle": "h1"}
    record = await CommandRecord.objects.aget()
    assert (record.service, record.action, record.state) == ("shell", "open", "succeeded")
    assert wire.sent[0]["params"] == {"cols": 80, "window": 1000}
    assert wire.sent[0]["id"] == str(record.pk)


async def test_a_stream_that_was_not_opened_is_recorded_so(wired: Server, wire: Wire, root: Any):
    def refuse(**_: Any) -> None:
        raise errors.CommandFailed("busy", "16 shells are open")

    wire.answer = refuse
    with pytest.raises(errors.CommandFailed, match="16 shells"):
        await open_shell(wired, root)
    assert (await CommandRecord.objects.aget()).code == "busy"


async def test_the_handle_of_a_shell_is_not_recorded(wired: Server, wire: Wire, root: Any):
    await nodes.open_stream(wired, "shell", "attach", {"handle": "hunter2"}, actor=root)
    assert "hunter2" not in str((await CommandRecord.objects.aget()).params)


async def test_a_server_nobody_reaches_says_so(root: Any):
    standard = await Server.objects.acreate(name="s", agent_id="standard-1", connection_type="ssh")
    with pytest.raises(errors.CommandFailed, match="not reached yet"):
        await open_shell(standard, root)


# Who may keep --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RECHECK", 0.05)


async def ends_with(stream: Flow) -> str:
    async with asyncio.timeout(10):
        while not stream.over:
            await asyncio.sleep(0.01)
    return stream.ended_with


async def test_it_ends_when_the_right_is_taken_away(wired: Server, wire: Wire, person: Callable[..., Any]):
    user, other = await made(person, "open_shell"), await made(person, "open_shell", username="other")
    stream, theirs = await open_shell(wired, user), await open_shell(wired, other)
    await user.user_permissions.aclear()
    assert await ends_with(stream) == "revoked"
    assert not theirs.over


async def test_it_ends_when_the_other_right_is_taken_away(
    wired: Server, wire: Wire, person: Callable[..., Any]
):
    user = await made(person, "open_shell", "change_server")
    watcher, typist = await open_shell(wired, user), await open_shell(wired, user, perm="change")
    await user.user_permissions.aremove(await user.user_permissions.aget(codename="change_server"))
    assert await ends_with(typist) == "revoked"
    assert not watcher.over


async def test_it_ends_when_the_grant_is_taken_away(wired: Server, wire: Wire, person: Callable[..., Any]):
    user = await made(person)
    group = await ServerGroup.objects.acreate(name="ours")
    await group.servers.aadd(wired)
    grant = await Grant.objects.acreate(server_group=group, user=user, permissions=["open_shell"])
    stream = await open_shell(wired, user)
    await grant.adelete()
    assert await ends_with(stream) == "revoked"


@pytest.mark.parametrize("how", ["inactive", "deleted"])
async def test_it_ends_with_its_user(wired: Server, wire: Wire, person: Callable[..., Any], how: str):
    user = await made(person, "open_shell")
    token = access.Narrowed(user, frozenset({"open_shell"}), name="robot")
    streams = [await open_shell(wired, actor) for actor in (user, token)]
    if how == "deleted":
        await made(user.delete)
    else:
        await get_user_model().objects.filter(pk=user.pk).aupdate(is_active=False)
    assert [await ends_with(stream) for stream in streams] == ["revoked", "revoked"]


async def test_it_ends_when_its_token_is_revoked(wired: Server, wire: Wire, person: Callable[..., Any]):
    user = await made(person, "open_shell")
    rows = [(await made(tokens.create, user, name, ["open_shell"]))[0] for name in ("one", "other")]
    one, other = [await open_shell(wired, await made(tokens.actor, row)) for row in rows]
    own = await open_shell(wired, user)
    assert await made(tokens.revoke, rows[:1]) == 1
    assert await ends_with(one) == "revoked"
    assert [stream.over for stream in (other, own)] == [False, False]


async def test_it_ends_when_the_server_is_suspended_or_gone(wired: Server, wire: Wire, root: Any):
    other = await Server.objects.acreate(name="other", agent_id="wired-2", connection_type="http")
    errand = await nodes.open_stream(wired, "system", "exec")
    streams = [await open_shell(wired, root), await open_shell(wired, access.CONSOLE), errand]
    elsewhere = await open_shell(other, root)
    await made(identity.suspend, wired)
    assert [await ends_with(stream) for stream in streams] == ["revoked"] * 3
    assert not elsewhere.over
    await made(other.delete)
    assert await ends_with(elsewhere) == "revoked"


async def test_a_stream_that_is_over_is_looked_at_no_more(wired: Server, wire: Wire, root: Any):
    stream = await open_shell(wired, root)
    await stream.reset()
    watch = watching.here()
    async with asyncio.timeout(10):
        while watch._watched:
            await asyncio.sleep(0.01)
    assert watch._task is not None
    await asyncio.wait_for(watch._task, 10)
    again = await open_shell(wired, root)
    await made(identity.suspend, wired)
    assert await ends_with(again) == "revoked", "a new task looks"


async def test_many_streams_of_one_person_cost_as_much_as_one(
    wired: Server, wire: Wire, person: Callable[..., Any], django_assert_max_num_queries: Any
):
    user = await made(person, "open_shell")
    watched = [
        watching.Watched(await open_shell(wired, user), wired.pk, user, ("open_shell",)) for _ in range(20)
    ]

    def look() -> None:
        with django_assert_max_num_queries(6):
            assert watching._unwelcome(watched) == []

    await made(look)
