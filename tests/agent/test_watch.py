"""The thread that waits for files: whose they are may change from one turn to the next."""

import os
import selectors

from agent_client.watch import _register


class Thing:
    """Somebody whose file is waited for."""


def test_a_number_behind_which_is_another_file_meanwhile_is_waited_for_anew():
    first, second, known = Thing(), Thing(), {}
    files = [*os.pipe(), *os.pipe()]
    number, other = files[1], files[3]
    with selectors.DefaultSelector() as selector:
        _register(selector, known, {number: (selectors.EVENT_WRITE, first)})
        os.close(number)  # a program's input that is over, and a program that starts just then
        os.dup2(other, number)
        _register(selector, known, {number: (selectors.EVENT_WRITE, second)})
        assert [key.data for key, _ in selector.select(5)] == [second]
        _register(selector, known, {})
    for file in files:
        os.close(file)


def test_what_is_waited_for_changes_with_what_is_wanted():
    thing, known = Thing(), {}
    reader, writer = os.pipe()
    with selectors.DefaultSelector() as selector:
        _register(selector, known, {writer: (selectors.EVENT_READ, thing)})
        assert selector.select(0) == []
        _register(selector, known, {writer: (selectors.EVENT_WRITE, thing)})
        assert [key.fd for key, _ in selector.select(5)] == [writer]
        _register(selector, known, {})
        assert not selector.get_map()
    os.close(reader)
    os.close(writer)
