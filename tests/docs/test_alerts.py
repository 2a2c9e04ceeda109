"""docs/alerts.md says what a webhook gets, and its example tells our messages from others."""

import json
import re
import time
from datetime import datetime

import pytest
from django.test import override_settings

from tests.docs.pages import page, rows, words
from tunnel import alert_mail, alert_news, alert_webhook, alerts, sessions
from tunnel.alert_news import Absence, Kind, News
from tunnel.conf import DEFAULTS, PREFIX

TEXT = page("docs/alerts.md")


def block(title: str) -> str:
    return re.search(rf'```python title="{title}"\n(.*?)```', TEXT, re.DOTALL)[1]


@pytest.mark.django_db
def test_the_example_is_what_is_posted():
    (example,) = [json.loads(found) for found in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
    told = example["nodes"][0]
    since, until, at = (
        datetime.fromisoformat(text) for text in (told["since"], told["until"], example["at"])
    )
    node = Absence(1, told["name"], told["agent_id"], since, until, told["reason"])
    with override_settings(TUNNEL_PUBLIC_URL="https://panel.example.org"):
        assert News(Kind(example["event"]), (node,), at).body() == example


def test_every_member_is_explained():
    body = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)[1])
    explained = {word for row in rows(TEXT, "member") for word in words(row[0])}
    assert explained == {*body, *body["nodes"][0]} - {"nodes"}


def test_the_example_takes_our_signature_and_no_other():
    space: dict = {}
    exec(block("verify"), space)
    is_ours, secret, body = space["is_ours"], "a-secret-of-some-length", b'{"event": "nodes.back"}'
    stamp = str(int(time.time()))
    headers = {"X-Yumna-Timestamp": stamp, "X-Yumna-Signature": alert_webhook.signature(secret, stamp, body)}
    assert is_ours(secret, headers, body)
    assert not is_ours(secret, headers, body + b" ")
    assert not is_ours("another-secret-of-length", headers, body)
    old = str(int(time.time()) - 301)
    assert not is_ours(secret, {**headers, "X-Yumna-Timestamp": old}, body)


def test_the_settings_of_the_example_exist():
    for name in re.findall(r"^(\w+) =", block("settings"), re.MULTILINE):
        assert name.removeprefix(PREFIX) in DEFAULTS


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        (r"within (\d+) minutes after the panel", alerts.GRACE.total_seconds() / 60),
        (r"at least (\d+) s apart", alerts.GAP),
        (r"by newer ones (\d+) times", sessions.TWINS_AFTER),
        (r"times within (\d+) minutes: two", sessions.TWINS_WITHIN.total_seconds() / 60),
        (r"a mail names (\d+) nodes", alert_news.MAX_LINES),
        (r"a webhook's body names (\d+)", alert_news.MAX_NODES),
        (r"is tried (\d+) times", len(alerts.PAUSES) + 1),
        (r"each step bounded to (\d+) s", alert_webhook.TIMEOUT),
        (r"each step bounded to (\d+) s", alert_mail.TIMEOUT),
        (r"a webhook to (\d+) s in all", alert_webhook.DEADLINE),
        (r"then every (\d+) minutes", alerts.LONGEST_GAP / 60),
        (r"secret of at least (\d+) characters", alert_webhook.LEAST_SECRET),
    ],
)
def test_a_number_of_the_page_is_the_number_of_the_code(sentence: str, value: float):
    assert float(re.search(sentence, TEXT)[1]) == value
