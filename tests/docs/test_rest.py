"""docs/rest.md and docs/troubleshooting.md against the code: every address, method, metric and code."""

import re

from tests.docs.pages import page, rows, words
from tunnel import metrics
from tunnel.api import codes
from tunnel.api.schema import document

REST = page("docs/rest.md")
PREFIX = "/api/tunnel/v1/"


def test_every_address_is_told_with_its_methods():
    told = {words(address)[0]: set(methods.split()) for address, methods, _ in rows(REST, "address")[:16]}
    described = {
        path.removeprefix(PREFIX).replace("{", "<").replace("}", ">"): {method.upper() for method in methods}
        for path, methods in document(PREFIX)["paths"].items()
    }
    assert told == described | {"schema/": {"GET"}, "docs/": {"GET"}}


def test_every_metric_is_told():
    text = metrics.exposition()[0].decode()
    there = {
        name for name in re.findall(r"^# TYPE (\w+)", text, re.MULTILINE) if not name.endswith("_created")
    }
    assert {words(name)[0] for name, _, _ in rows(REST, "metric")} == there


def test_every_code_is_told_as_it_is_explained():
    told = {
        words(code)[0]: (int(status), title, advice)
        for code, status, title, advice in rows(page("docs/troubleshooting.md"), "code")
    }
    assert told == {code: (one.status, one.title, one.advice) for code, one in codes.MEANINGS.items()}
