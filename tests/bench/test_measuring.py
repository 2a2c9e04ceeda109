"""Each measurement runs on a real panel, with small numbers."""

from collections.abc import Iterable, Iterator

import pytest

from bench import (
    dispatch,
    floor,
    held,
    idle,
    live,
    outage,
    pages,
    programs,
    rest,
    restart,
    sql,
    terminal,
    usual,
)
from bench.figures import Figure
from bench.fleet import peak
from bench.panel import Panel, running

pytestmark = pytest.mark.e2e

SERVERS = 20


@pytest.fixture(scope="module")
def panel() -> Iterator[Panel]:
    with running("uvicorn") as made:
        pages.fill(made, SERVERS)
        yield made


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    for module in (dispatch, live, pages, rest, sql):
        monkeypatch.setattr(module, "RUNS", 2)
    for module, name, number in (
        (dispatch, "ONE_BY_ONE", 10),
        (dispatch, "TOGETHER", 50),
        (floor, "TOGETHER", 50),
        (floor, "COUNT", 5),
        (held, "WARM", 2),
        (held, "HELD", 5),
        (held, "SETTLE", 0.3),
        (idle, "SETTLED", 0.1),
        (idle, "SECONDS", 0.4),
        (outage, "AGENTS", 2),
        (outage, "OUTAGE", 0.05),
        (pages, "FEWEST", 1),
        (programs, "TOGETHER", 8),
        (rest, "COMMANDS", 5),
        (restart, "AGENTS", 4),
        (terminal, "RUNS", 1),
        (terminal, "BULK_RUNS", 1),
        (terminal, "KEYS", 20),
        (terminal, "FLOODS", 1),
        (terminal, "FLOOD", 0.1),
        (terminal, "UNREAD", 0.5),
        (terminal, "RESTARTS", 1),
        (terminal, "SLOW_KEYS", 4),
        (usual, "TOGETHER", dict.fromkeys(usual.LAYERS, 50)),
        (usual, "ONE_BY_ONE", 10),
        (usual, "RUNS", 2),
    ):
        monkeypatch.setattr(module, name, number)


MAY_NOT_GROW = "memory of a worker while a page reads nothing"  # a worker with room left takes no more


def names(figures: Iterable[Figure]) -> list[str]:
    """What was measured; each value is one."""
    found = list(figures)
    measured = [figure for figure in found if figure.name != MAY_NOT_GROW]
    assert all(value > 0 for figure in measured for value in figure.values)
    return [figure.name for figure in found]


def test_the_dispatch_is_timed_in_both_workers_and_against_the_usual_way(panel):
    group_send = Figure("group_send", "commands/s", (1.0,))
    figures = list(dispatch.measure(panel, "uvicorn", {"a": group_send}))
    assert [len(figure.values) for figure in figures] == [2, 2, 2, 2, 2]
    assert names(figures) == [
        "dispatch, uvicorn, same worker",
        "dispatch, uvicorn, other worker",
        "dispatch at once, uvicorn, same worker",
        "dispatch at once, uvicorn, same worker, over group_send",
        "dispatch at once, uvicorn, other worker",
    ]
    assert figures[3].values == figures[2].values  # the usual way did one a second


def test_the_floor_is_measured_with_and_without_tls():
    assert names(floor.measure()) == [
        "floor: echo over ws",
        "floor: echoes at once over ws",
        "floor: echo over wss",
        "floor: echoes at once over wss",
        floor.SPAWN,
        floor.SPAWNS,
    ]


@pytest.mark.parametrize("layer", usual.LAYERS)
def test_the_usual_way_answers_on_both_layers(layer):
    found = names(usual.layer(usual.COMMANDS["uvicorn"], "uvicorn", layer))
    assert [name for name in found if name.startswith("group_send on") and "lost" not in name] == [
        f"group_send on {layer}, uvicorn, same worker",
        f"group_send on {layer}, uvicorn, other worker",
    ]


def test_a_command_that_reads_the_database_would_be_seen(panel, monkeypatch):
    monkeypatch.setitem(sql.KINDS, "reading", "a lookup")
    figures = {figure.name: figure for figure in sql.measure(panel)}
    assert figures[f"SQL of {sql.COMMANDS} × a lookup, same worker"].median >= sql.COMMANDS
    assert figures[f"SQL of {sql.COMMANDS} × asend_command, same worker"].kept


def test_programs_are_timed_on_the_real_agent(panel):
    assert names(programs.measure(panel, {})) == ["exec of true", "exec of true at once"]


def test_an_idle_agent_is_watched(panel):
    memory, processor = idle.measure(panel)
    assert 5 < memory.median < 100
    assert len(processor.values) == 1


def test_an_agent_comes_back_after_an_outage(panel):
    (figure,) = outage.measure(panel)
    assert len(figure.values) == 2
    assert all(0 < value < outage.BACK_WITHIN for value in figure.values)


def test_connected_agents_are_weighed(panel):
    (figure,) = held.measure(panel, "uvicorn")
    assert len(figure.values) == 1


def test_a_peak_is_the_most_within_a_second():
    assert peak([]) == 0
    assert peak([0.0, 5.0, 5.2, 5.9, 6.3]) == 3


def test_the_pages_show_all_servers_there_are(panel):
    assert panel.cluster.sql("SELECT COUNT(*) FROM servers")[0][0] >= SERVERS
    found = pages.measure(panel, SERVERS, most=30.0)
    assert [figure.kept for figure in found.values()] == [True, True]


def test_a_page_takes_as_many_queries_with_more_servers(panel):
    few = pages.queries(panel)
    pages.fill(panel, SERVERS * 3)
    figures = pages.constant(few, pages.queries(panel))
    assert all(count > 0 for figure in figures for count in figure.values)
    assert [figure.name for figure in figures if not figure.kept] == []


def test_a_state_change_is_seen_on_the_other_worker(panel):
    assert live.measure(panel, SERVERS).kept


def test_a_command_over_rest_is_measured_against_the_dispatch(panel):
    bare, command, over = rest.measure(panel)
    assert command.base is bare
    assert [value + bare.median for value in over.values] == pytest.approx(command.values)


def test_a_terminal_is_timed_through_the_socket_of_its_page():
    with running("uvicorn") as made:  # it restarts a worker
        found = names(terminal.measure(made))
    assert [name for name in found if "ssh" not in name] == [
        "keystroke, floor: a bare terminal",
        "memory of a worker while a page reads nothing",
        "keystroke, same worker",
        "keystroke during bulk, same worker",
        "keystroke during bulk over one without",
        "bulk meanwhile",
        "keystroke, relayed",
        "Ctrl-C on a flood to the prompt",
        "attached again after a restart",
        "keystroke on 1 Mbit/s, p95",
        "keystroke on 1 Mbit/s during bulk, p95",
        "bulk on 1 Mbit/s meanwhile",
    ]


def test_a_restart_is_timed_until_the_last_agent_is_back(panel, monkeypatch):
    monkeypatch.setattr(restart, "ORDER", ("b",))  # the last test here: b may not answer yet afterwards
    seconds, attempts = restart.measure(panel)
    assert len(seconds.values) == len(attempts.values) == 1
    assert attempts.median >= 1
