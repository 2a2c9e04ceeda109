"""The table of commands and the pool that runs them."""

import sys
import threading
from importlib import metadata

import pytest

from agent_client import commands
from agent_client.calls import Call, Refused
from agent_client.commands import Action, Service, Table, add_installed
from agent_client.params import Param, Text, Whole
from agent_client.pool import Answer, Failure, Pool
from agent_client.protocol.codes import Code
from agent_client.protocol.messages import Command
from tests.agent.test_link import wait_for

PATIENCE = 5.0


def table(run=lambda call: call.params) -> Table:
    params = (Param("word", Text(longest=5)), Param("count", Whole(1, 3), default=2))
    return Table([Service("demo", (Action("go", run, params),))])


def command(service: str = "demo", action: str = "go", **params) -> Command:
    return Command("c-1", service, action, 0.0, params)


@pytest.mark.parametrize(
    ("asked", "code", "word"),
    [
        (command("nothing"), Code.UNKNOWN_SERVICE, "nothing"),
        (command(action="nothing"), Code.UNKNOWN_ACTION, "nothing"),
        (command(word=5), Code.INVALID_PARAMS, "word"),
        (command(word="too long"), Code.INVALID_PARAMS, "word"),
        (command(word="x", count=4), Code.INVALID_PARAMS, "count"),
        (command(word="x", count=True), Code.INVALID_PARAMS, "count"),
        (command(word="x", other=1), Code.INVALID_PARAMS, "other"),
    ],
)
def test_what_the_table_does_not_hold_is_refused_by_name(asked, code, word):
    with pytest.raises(Refused) as refused:
        table().prepare(asked)
    assert refused.value.code is code
    assert word in str(refused.value)


def test_defaults_are_filled_in():
    assert table().prepare(command(word="x")).call.params == {"word": "x", "count": 2}


class Entry(metadata.EntryPoint):
    """An entry point of this process, as an installed package would have one."""


def offered() -> Service:
    """A service another package might offer."""
    return Service("backup", (Action("start", lambda call: "started"),))


SERVICE = offered()
BUILT_IN = Service("demo", (Action("go", lambda call: "stolen"),))
NO_SERVICE = "nothing"


def test_a_package_on_the_node_adds_a_service_but_replaces_none(monkeypatch, caplog):
    group = commands.ENTRY_POINTS
    entries = [
        Entry("backup", "tests.agent.test_commands:SERVICE", group),
        Entry("demo", "tests.agent.test_commands:BUILT_IN", group),
        Entry("none", "tests.agent.test_commands:NO_SERVICE", group),
        Entry("gone", "tests.agent.no_such_module:SERVICE", group),
    ]
    monkeypatch.setattr(commands, "_entry_points", lambda: entries)
    made = table()
    add_installed(made)
    assert made.services == ("backup", "demo")
    assert made.prepare(command(word="x")).run(Call("c", {"word": "x"}, 1)) == {"word": "x"}
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


@pytest.fixture
def pool():
    made = Pool(threads=2, waiting=3)
    made.start()
    yield made
    assert made.stop(PATIENCE)


def test_a_handler_that_raises_is_an_error_and_harms_nobody(pool, caplog):
    def broken(call: Call) -> None:
        raise RuntimeError("boom")

    outcomes: list = []
    pool.submit(table(broken).prepare(command(word="x")), outcomes.append)
    pool.submit(table().prepare(command(word="y")), outcomes.append)
    wait_for(lambda: len(outcomes) == 2)
    failure = next(one for one in outcomes if isinstance(one, Failure))
    assert failure.code is Code.INTERNAL
    assert "Traceback" not in failure.error
    assert Answer({"word": "y", "count": 2}) in outcomes


def test_a_pool_whose_threads_all_hang_says_so_at_the_second_look(pool, monkeypatch):
    monkeypatch.setattr("agent_client.pool.STUCK", 0.0)
    release = threading.Event()
    outcomes: list = []
    for _ in range(2):
        assert pool.trouble() is None
        pool.submit(table(lambda call: release.wait(PATIENCE)).prepare(command(word="x")), outcomes.append)
    wait_for(lambda: len(pool._running) == 2)
    assert pool.trouble() is None, "they may end in the next moment"
    assert pool.trouble() == "all 2 threads for commands hang"
    release.set()
    wait_for(lambda: len(outcomes) == 2)
    assert pool.trouble() is None


def test_a_service_that_exits_ends_no_thread(pool):
    outcomes: list = []
    for _ in range(3):
        pool.submit(table(lambda call: sys.exit(3)).prepare(command(word="x")), outcomes.append)
    wait_for(lambda: len(outcomes) == 3)
    assert {outcome.code for outcome in outcomes} == {Code.INTERNAL}
    assert pool.trouble() is None


def test_beyond_its_bound_the_pool_is_busy_and_a_waiting_command_can_be_cancelled(pool):
    release = threading.Event()
    outcomes: list = []
    prepared = [table(lambda call: release.wait(PATIENCE)).prepare(command(word="x")) for _ in range(5)]
    for one in prepared[:2]:
        pool.submit(one, outcomes.append)
    wait_for(lambda: len(pool._running) == 2)
    for one in prepared[2:]:
        pool.submit(one, outcomes.append)
    with pytest.raises(Refused) as refused:
        pool.submit(table().prepare(command(word="x")), outcomes.append)
    assert refused.value.code is Code.BUSY
    assert pool.cancel(prepared[4].call)
    release.set()
    wait_for(lambda: len(outcomes) == 4)


def test_the_services_of_an_installed_package_are_found(monkeypatch, tmp_path):
    assert commands._entry_points() == []
    folder = tmp_path / "weather-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: weather\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{commands.ENTRY_POINTS}]\nweather = weather:service\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [entry.name for entry in commands._entry_points()] == ["weather"]
