"""docs/troubleshooting.md against the code: steps and sentences of the agent's doctor, close codes, exit codes, waits."""

import ast
import re
from pathlib import Path

from agent_client import __main__ as agent
from agent_client import advice, doctor
from agent_client.backoff import RULES, Ending
from agent_client.finding import Exit
from agent_client.protocol.codes import CloseCode
from agent_client.protocol.limits import HELLO_TIMEOUT, MAX_TEXT
from agent_client.upgrade import REFUSALS
from tests.agent.test_doctor import FAULTS
from tests.docs.pages import ROOT, page, rows, words

TEXT = page("docs/troubleshooting.md")
FOREIGN_CODES = {1013}  # no side of ours sends it, servers and proxies do


def sentences(path: Path) -> list[str]:
    """Every text of a module, the pieces of one with fields in it apart."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_every_step_of_the_agents_doctor_is_told_and_no_other():
    source = (ROOT / "agent_client/doctor.py").read_text(encoding="utf-8")
    steps = set(re.findall(r'Finding\(\s*"([^"]+)"', source))
    told = {words(step)[0] for step, _, _ in rows(TEXT, "step")}
    assert told == steps
    assert {step for _, step, *_ in FAULTS.values()} <= told


def test_what_it_is_told_to_say_it_says():
    said = [text for path in (ROOT / "agent_client").glob("*.py") for text in sentences(path)]
    said += [detail for *_, detail, _ in FAULTS.values()]  # seen when each was real
    for _, saying, _ in rows(TEXT, "step"):
        for phrase in words(saying):
            assert any(phrase in text for text in said), phrase


def test_every_answer_to_the_handshake_is_told():
    told = {int(status) for row in rows(TEXT, "status") for status in re.findall(r"\b\d{3}\b", row[0])}
    assert told == {*advice._ANSWERS, *REFUSALS, 101}


def test_every_close_code_is_told():
    assert {int(code) for code, *_ in rows(TEXT, "close code")} == {
        int(code) for code in CloseCode
    } | FOREIGN_CODES


def test_every_exit_code_of_the_agent_is_told():
    told: dict[str, set[int]] = {"run": set(), "doctor": set()}
    for commands, code, _ in rows(TEXT, "command"):
        for command in words(commands):
            told[command].add(int(code))
    assert told == {"run": {0, agent.EXIT_FAULT, agent.EXIT_USAGE}, "doctor": {int(code) for code in Exit}}


def test_the_numbers_are_those_of_the_code():
    refused, replaced, lost = (RULES[e] for e in (Ending.REFUSED, Ending.REPLACED, Ending.LOST))
    assert (
        f"after {replaced.first * replaced.low:.0f} to {replaced.first * replaced.high:.0f} s when it was"
        in TEXT
    )
    assert (
        f"after {refused.first / 60:.0f} to {refused.cap * refused.high / 60:.0f} minutes when it is" in TEXT
    )
    assert f"waits {refused.first / 60:.0f} to {refused.cap * refused.high / 60:.0f} minutes" in TEXT
    assert (lost.cap, "up to a minute later" in TEXT) == (60.0, True)
    assert f"Each step takes {doctor.DEADLINE:.0f} s at most" in TEXT
    assert f"More than {doctor.CLOCK_TOLERANCE:.0f} s apart" in TEXT
    assert f"no HELLO within {HELLO_TIMEOUT:.0f} s" in TEXT
    assert f"a message over {MAX_TEXT // 1024} KiB" in TEXT


def test_every_link_inside_the_page_leads_to_a_heading():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", TEXT, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
