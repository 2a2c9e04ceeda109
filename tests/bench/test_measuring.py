"""Each measurement runs on a real panel, with small numbers."""

from collections.abc import Iterator

import pytest

from bench import dispatch, live, pages, rest
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
    for module in (dispatch, live, pages, rest):
        monkeypatch.setattr(module, "RUNS", 2)
    monkeypatch.setattr(dispatch, "ONE_BY_ONE", 10)
    monkeypatch.setattr(dispatch, "TOGETHER", 50)
    monkeypatch.setattr(rest, "COMMANDS", 5)
    monkeypatch.setattr(pages, "FEWEST", 1)


def test_the_dispatch_is_timed_in_both_workers(panel):
    figures = dispatch.measure(panel, "uvicorn")
    assert [len(figure.values) for figure in figures] == [2, 2, 2, 2]
    assert all(value > 0 for figure in figures for value in figure.values)


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
