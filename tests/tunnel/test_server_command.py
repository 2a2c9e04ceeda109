"""The command box: what the form means, what the answer shows, and who may send it."""

import re
import time
from html import unescape

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import translation

from servers import identity, second_factor
from servers.errors import CommandError, CommandFailed, Disconnected, NotConnected
from servers.models import CommandRecord, Server
from tests.servers.conftest import Wire, wire, wired  # noqa: F401 - fixtures
from tunnel.pages import error_words, replies
from tunnel.pages.command_form import MAX_LINE, CommandForm

pytestmark = pytest.mark.django_db(transaction=True)
FORM = {"mode": "program", "line": "uptime", "timeout": "10"}
SCRIPT = {"accept": "application/json"}


def command(server: Server) -> str:
    return reverse("tunnel:server_command", args=(server.pk,))


def meaning(**fields):
    form = CommandForm({**FORM, **fields})
    assert form.is_valid(), form.errors
    return form.command


def problems(**fields) -> dict[str, list[str]]:
    form = CommandForm({**FORM, **fields})
    return {} if form.is_valid() else form.problems()


@pytest.fixture
def person():
    def make(*codenames: str, **options) -> Client:
        user = get_user_model().objects.create_user("ann", password="x", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(codename__in=codenames, content_type__app_label="servers")
        )
        client = Client(**options)
        client.force_login(user)
        return client

    return make


# What the form means --------------------------------------------------------------------------------------------


def test_a_line_is_split_as_a_shell_would_and_no_shell_sees_it():
    given = meaning(line="""printf '%s\\n' "a  b" $HOME *.txt; true""")
    assert (given.service, given.action) == ("system", "exec")
    assert given.params == {"argv": ["printf", "%s\\n", "a  b", "$HOME", "*.txt;", "true"]}


def test_through_a_shell_the_line_goes_as_it_is():
    assert meaning(line="uptime | wc -c", shell="on").params == {"shell": "uptime | wc -c"}


def test_an_action_takes_its_parameters_as_json():
    given = meaning(
        mode="action", service="system", action="listProcesses", params='{"limit": 5}', timeout="60"
    )
    assert (given.service, given.action, given.params) == ("system", "listProcesses", {"limit": 5})
    assert given.timeout == 60.0
    assert meaning(mode="action", service="agent", action="ping", line="").params == {}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"line": " "}, "line"),
        ({"line": "echo 'a"}, "line"),
        ({"line": "echo \\"}, "line"),
        ({"line": "''"}, "line"),
        ({"line": "a\0b"}, "line"),
        ({"line": "x" * (MAX_LINE + 1)}, "line"),
        ({"timeout": "0"}, "timeout"),
        ({"timeout": "61"}, "timeout"),
        ({"timeout": "nan"}, "timeout"),
        ({"timeout": ""}, "timeout"),
        ({"mode": "root"}, "mode"),
        ({"mode": "action", "service": "", "action": "ping"}, "service"),
        ({"mode": "action", "service": "system", "action": ""}, "action"),
        ({"mode": "action", "service": "s" * 65, "action": "ping"}, "service"),
        ({"mode": "action", "service": "s", "action": "a", "params": "[1]"}, "params"),
        ({"mode": "action", "service": "s", "action": "a", "params": "{"}, "params"),
        ({"mode": "action", "service": "s", "action": "a", "params": '{"a": NaN}'}, "params"),
        ({"mode": "action", "service": "s", "action": "a", "params": '{"a":' * 5000 + "1"}, "params"),
        ({"mode": "action", "service": "s", "action": "a", "params": '{"a": "\\ud800"}'}, "params"),
        ({"mode": "action", "service": "s", "action": "a", "params": '{"a": ' + "9" * 5000 + "}"}, "params"),
    ],
)
def test_what_cannot_be_meant_is_said_at_its_field(fields, wrong):
    assert list(problems(**fields)) == [wrong]


# What the answer shows ------------------------------------------------------------------------------------------


def program(**members):
    return replies.of_answer({"exitCode": 0, "stdout": "", "stderr": "", **members}, 0.5)


def test_an_exit_code_and_both_outputs_are_shown_apart():
    reply = program(exitCode=3, stdout="out\n", stderr="err\n", truncated=True)
    assert (reply.good, reply.headline, reply.took) == (False, "Exit code 3", "500 ms")
    assert (reply.stdout, reply.stderr) == ("out\n", "err\n")
    assert "only the beginning" in reply.note
    assert program().good


def test_a_signal_is_named():
    assert program(exitCode=-9).headline == "Ended by signal SIGKILL"
    assert program(exitCode=-4000).headline == "Ended by signal 4000"


def test_lines_and_tabs_stay_and_every_other_control_character_is_seen():
    reply = program(stdout="a\tb\r\n\x1b[31mred\x1b[0m\rover\u202eback\u200b\x00\n")
    assert reply.stdout == "a\tb\n\\x1b[31mred\\x1b[0m\\rover\\u202eback\\u200b\\x00\n"


def test_what_is_shown_is_bounded_and_what_is_not_is_counted():
    reply = program(stdout="x" * (replies.MAX_SHOWN + 1234))
    assert len(reply.stdout) == replies.MAX_SHOWN
    assert "1,234 more characters" in reply.note
    assert len(replies.of_answer(["x" * 300_000], 1.0).data) == replies.MAX_SHOWN


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "text",
        [1],
        {"exitCode": "0"},
        {"exitCode": True},
        {"exitCode": 10**30},
        {"exitCode": 0, "stdout": []},
    ],
)
def test_an_answer_of_another_shape_is_shown_as_data(data):
    reply = replies.of_answer(data, 2.0)
    assert (reply.headline, reply.took) == ("Answered", "2.0 s")
    assert reply.data


def test_an_error_says_its_code_and_whether_it_ran():
    failed = replies.of_error(CommandFailed("not_found", "no \x1b[1m such file"), 0.1)
    assert (failed.error, failed.code, failed.ran) == ("no \\x1b[1m such file", "not_found", "It ran.")
    assert replies.of_error(NotConnected(), 0.1).ran == "It did not run."
    assert "not known" in replies.of_error(Disconnected(), 0.1).ran


# The request ----------------------------------------------------------------------------------------------------


def test_the_script_gets_the_answer_and_the_history_keeps_it(admin_client, wired: Server, wire: Wire):  # noqa: F811
    wire.answer = lambda **_: {"exitCode": 0, "stdout": "up 3 days\n", "stderr": ""}
    answer = admin_client.post(command(wired), {**FORM, "line": "uptime -p", "timeout": "7"}, headers=SCRIPT)
    assert answer.json()["reply"]["stdout"] == "up 3 days\n"
    assert "no-store" in answer.headers["Cache-Control"]
    (sent,) = wire.sent
    assert (sent["params"], sent["timeout"]) == ({"argv": ["uptime", "-p"]}, 7.0)
    assert CommandRecord.objects.get().actor == "admin"


def test_without_the_script_the_page_shows_it(admin_client, wired: Server, wire: Wire):  # noqa: F811
    wire.answer = lambda **_: {"exitCode": 1, "stdout": "", "stderr": "<b>no</b>\n"}
    page = admin_client.post(command(wired), {**FORM, "line": "false <x>"}).content.decode()
    assert re.search(r'data-good="no".*Exit code 1.*&lt;b&gt;no&lt;/b&gt;', page, re.DOTALL)
    assert "<b>no" not in page
    assert "false &lt;x&gt;</textarea>" in page


def test_a_failure_is_an_answer_too(admin_client, wired: Server, wire: Wire):  # noqa: F811
    def fail(**_):
        raise CommandFailed("not_found", "no such program")

    wire.answer = fail
    reply = admin_client.post(command(wired), FORM, headers=SCRIPT).json()["reply"]
    assert (reply["good"], reply["code"], reply["error"]) == (False, "not_found", "no such program")
    page = unescape(admin_client.post(command(wired), FORM).content.decode())
    assert "no such program" in page
    assert "It ran." in page


def test_a_wrong_form_is_sent_nowhere(admin_client, wired: Server, wire: Wire):  # noqa: F811
    answer = admin_client.post(command(wired), {**FORM, "line": "'"}, headers=SCRIPT)
    assert (answer.status_code, list(answer.json()["problems"])) == (400, ["line"])
    page = unescape(admin_client.post(command(wired), {**FORM, "line": "'"}).content.decode())
    assert "has no counterpart" in page
    assert wire.sent == []
    assert CommandRecord.objects.count() == 0


def test_a_node_that_is_not_there_is_said_before_anything_is_run(admin_client):
    server, _ = identity.create("db-01")
    page = unescape(admin_client.get(reverse("tunnel:server", args=(server.pk,))).content.decode())
    assert "The agent has never connected" in page
    assert '<fieldset data-yt="fields" disabled>' in page


def test_a_suspended_server_runs_nothing(admin_client, wired: Server, wire: Wire):  # noqa: F811
    identity.suspend(wired)
    assert admin_client.post(command(wired), FORM, headers=SCRIPT).json()["reply"]["code"] == "forbidden"
    assert wire.sent == []


def test_without_the_right_it_is_refused(person, wired: Server, wire: Wire):  # noqa: F811
    client = person("view_server", "change_server", "rotate_secret", "open_shell")
    assert client.post(command(wired), FORM).status_code == 403
    answer = client.post(command(wired), FORM, headers=SCRIPT)
    assert (answer.status_code, list(answer.json())) == (403, ["refused"])
    assert wire.sent == []


def test_a_server_one_may_not_see_looks_like_none(person, wired: Server, wire: Wire):  # noqa: F811
    client = person()
    assert client.post(command(wired), FORM, headers=SCRIPT).status_code == 404
    assert wire.sent == []


def test_where_the_panel_asks_for_a_second_factor_it_is_shown_first(admin_client, settings, wired, wire):  # noqa: F811
    settings.TUNNEL_SECOND_FACTOR = 900
    here = reverse("tunnel:server", args=(wired.pk,))
    confirm = second_factor.page(back=here)
    page = admin_client.get(here).content.decode()
    assert f'href="{confirm}"' in page.replace("&amp;", "&")
    assert '<fieldset data-yt="fields" disabled>' in page
    assert admin_client.post(command(wired), FORM).url == confirm
    answer = admin_client.post(command(wired), FORM, headers=SCRIPT)
    assert (answer.status_code, answer.json()) == (403, {"confirm": confirm})
    assert wire.sent == []
    session = admin_client.session
    session["servers_second_factor"] = [str(session["_auth_user_id"]), time.time()]
    session.save()
    assert admin_client.post(command(wired), FORM, headers=SCRIPT).status_code == 200
    assert len(wire.sent) == 1


def test_a_page_of_another_site_cannot_run_anything(person, wired: Server, wire: Wire):  # noqa: F811
    client = person("run_command", enforce_csrf_checks=True)
    assert client.post(command(wired), FORM, headers=SCRIPT).status_code == 403
    page = client.get(reverse("tunnel:server", args=(wired.pk,))).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    assert (
        client.post(command(wired), {**FORM, "csrfmiddlewaretoken": token}, headers=SCRIPT).status_code == 200
    )
    assert len(wire.sent) == 1


def test_a_login_on_the_way_leads_back_to_the_page(admin_client, wired: Server):  # noqa: F811
    answer = admin_client.get(command(wired))
    assert (answer.status_code, answer.url) == (302, reverse("tunnel:server", args=(wired.pk,)))
    assert admin_client.put(command(wired)).status_code == 405


@pytest.mark.parametrize("kind", error_words.SENTENCES)
def test_the_panels_own_sentences_are_those_of_its_errors_in_the_readers_language(kind: type[CommandError]):
    with translation.override("en"):
        assert error_words.sentence(kind()) == kind.SENTENCE
    with translation.override("id"):
        assert error_words.sentence(kind()) != kind.SENTENCE
        assert error_words.sentence(kind("said otherwise")) == "said otherwise"


def test_the_words_follow_the_reader(admin_client, wired: Server, wire: Wire):  # noqa: F811
    with translation.override("id"):
        answer = admin_client.post(command(wired), FORM, headers={**SCRIPT, "accept-language": "id"})
        assert answer.json()["reply"]["headline"] == str(translation.gettext("Answered"))
