"""docs/command-line.md names every command, option, variable and exit code there is."""

from __future__ import annotations

import argparse
import re

from tests.docs.pages import page
from tunnel.cli import address, program, way, yumna
from tunnel.cli.commands import COMMANDS
from tunnel.cli.exits import Exit
from tunnel.cli.parsing import SubParser

TEXT = page("docs/command-line.md")


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {word for action in parser._actions for word in action.option_strings if word.startswith("--")} - {
        "--help"
    }


def test_every_command_and_its_options_are_described():
    table = TEXT.partition("## Commands")[2].partition("##")[0]
    for name, command in COMMANDS.items():
        parser = SubParser()
        command.add_arguments(parser)
        assert re.search(rf"`{name}[ `]", table), name
        for option in options(parser) - {"--bind", "--port", "--access-log"}:
            assert option in table, (name, option)


def test_every_variable_and_common_option_is_described():
    for name in (
        way.URL,
        way.TOKEN,
        way.TOKEN_FILE,
        way.CA_FILE,
        address.ALLOW_INSECURE,
        *options(yumna._parser()),
    ):
        assert f"`{name}" in TEXT, name


def test_every_exit_code_is_described():
    table = TEXT.partition("## Exit codes")[2]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert codes == {int(code) for code in Exit if code is not Exit.OWN_FAILURE} | {program.BROKEN_PIPE}
    assert "255" in table
