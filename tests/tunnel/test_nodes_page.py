"""The Node Orchestration page: right without its script, and safe whatever a node calls itself."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from servers import identity
from servers.models import Grant, Server, ServerGroup, Tag
from tests.bench_data import fill
from tunnel import presence, sessions
from tunnel.models import CloseReason, Refusal, RefusalReason, Session, Worker
from tunnel.pages import listing
from tunnel.pages.listing import Filters
from tunnel.presence import State

pytestmark = pytest.mark.django_db

# Each ends something: an element, an attribute, a script, a template, a line, a JSON text.
PAYLOADS = [
    "<script>owned()</script>",
    "</script><script>owned()</script>",
    "</title><script>owned()</script>",
    "</template><img src=x onerror=owned()>",
    "</textarea><svg onload=owned()>",
    "<img src=x onerror=owned()>",
    "<svg/onload=owned()>",
    "<svg><script>owned()</script></svg>",
    "<iframe srcdoc='<script>owned()</script>'></iframe>",
    "<body onload=owned()>",
    "<details open ontoggle=owned()>",
    "<input autofocus onfocus=owned()>",
    "<a href=javascript:owned()>x</a>",
    "<math><mtext></mtext><script>owned()</script></math>",
    "<style>@import'//evil.example'</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<form action=//evil.example><button>x",
    "<object data=javascript:owned()>",
    "<embed src=//evil.example>",
    "<dialog open>",
    "<marquee onstart=owned()>",
    "<!-- --><script>owned()</script><!--",
    "<![CDATA[<script>owned()</script>]]>",
    '"><script>owned()</script>',
    "'><script>owned()</script>",
    '" onmouseover=owned() x="',
    "' onmouseover=owned() x='",
    "` onmouseover=owned() x=`",
    '" style=background:url(//evil.example) x="',
    '" autofocus onfocus=owned() x="',
    "javascript:owned()",
    "data:text/html,<script>owned()</script>",
    "vbscript:owned()",
    "//evil.example",
    "\\u003cscript\\u003eowned()\\u003c/script\\u003e",
    "\\x3cscript\\x3eowned()",
    "&lt;script&gt;owned()&lt;/script&gt;",
    "&#60;script&#62;owned()&#60;/script&#62;",
    "%3Cscript%3Eowned()%3C/script%3E",
    "{{ 7|add:7 }}",
    "{% debug %}",
    "{time}{reason}{0.__class__}",
    "${owned()}",
    "#{owned()}",
    "%(name)s %s %n",
    "';owned();//",
    '";owned();//',
    '\\";owned();//',
    "\u2028owned()\u2029",
    "\u202egnp.exe",
    "\u200b\ufeff",
    "\x1b]0;owned\x07\x1b[2J",
    "\r\nSet-Cookie: owned=1",
    "\x00<script>owned()</script>",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "__proto__",
    "constructor",
    '=HYPERLINK("//evil.example")',
    "A" * 40 + "<b>",
    "]]>--></script></style></title></textarea></template>",
]


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """What of the page must not depend on what a node calls itself: elements and names of attributes."""
        return [(tag, tuple(sorted(attrs))) for tag, attrs in self.found]


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """A page in another language leaves it switched on in the thread that made it."""
    with translation.override("en"):
        yield


@pytest.fixture
def worker() -> Worker:
    made = uuid.uuid4()
    sessions.open_worker(made, f"inbox-{made}")
    return Worker.objects.get(pk=made)


def make(name: str, worker: Worker, *, ended: timedelta | None = None, reason: str = "silent") -> Server:
    """A server with a session that is open, or ended so long ago."""
    server, _ = identity.create(name)
    Session.objects.create(
        server=server,
        worker=worker,
        secret_version=1,
        closed_at=None if ended is None else timezone.now() - ended,
        close_reason="" if ended is None else reason,
    )
    return server


def cards(page: str) -> list[tuple[str, str]]:
    """The state and name of each card, in the order of the page; the blank one of the script is last."""
    found = re.findall(
        r'<(?:article|tr)[^>]*data-state="(\w+)"[^>]*?(?<! hidden)>.*?data-yt="name">([^<]*)<',
        page,
        re.DOTALL,
    )
    assert found[-1] == ("never", "")
    return found[:-1]


def test_trouble_comes_first_then_the_name(admin_client, worker):
    make("beta", worker)
    make("alpha", worker)
    make("zulu", worker, ended=timedelta(hours=3))
    make("yankee", worker, ended=timedelta(seconds=5))
    identity.create("new")
    identity.suspend(make("held", worker))
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert cards(page) == [
        ("reconnecting", "yankee"),
        ("offline", "zulu"),
        ("active", "alpha"),
        ("active", "beta"),
        ("suspended", "held"),
        ("never", "new"),
    ]
    assert "2 of 6 tunnels active" in page


def test_an_offline_card_says_since_when_and_why(admin_client, worker):
    make("zulu", worker, ended=timedelta(hours=3), reason=CloseReason.REPLACED)
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert "Offline since" in page
    assert "3 hours ago" in page
    assert "a newer connection with the same agent id took over" in page
    assert "Two agents used this agent ID" in page


def test_a_dead_worker_shows_within_its_lease(admin_client, worker):
    make("alpha", worker)
    Worker.objects.update(lease_until=Now() - timedelta(seconds=1))
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert cards(page) == [("reconnecting", "alpha")]
    assert "0 of 1 tunnels active" in page


def say_everywhere(server: Server, text: str) -> None:
    """Have a node and its neighbours say this in every field that the page knows."""
    Server.objects.filter(pk=server.pk).update(
        name=text[:100],
        agent_id=f"id-{text}"[:64],
        host_facts={"platform": text, text: text},
        agent_version=text[:32],
        last_usage={"cpu": text, "ram": [text], "uptime": {text: text}, text: text},
        last_usage_at=timezone.now(),
    )
    Tag.objects.filter(servers=server).update(name=text[:50])
    Session.objects.filter(server=server).update(agent_reason=text[:200], close_detail=text[:200])
    Refusal.objects.filter(server=server).update(address=text[:45])


@pytest.fixture
def talkative(worker) -> Server:
    """A server with something in every field."""
    server = make("alpha", worker, ended=timedelta(hours=1))
    server.tags.add(Tag.objects.create(name="tag"))
    Refusal.objects.create(server=server, reason=RefusalReason.WRONG_SECRET, address="203.0.113.9", times=2)
    say_everywhere(server, "agent")
    return server


def shape(client: Any, **query: str) -> list[tuple[str, tuple[str, ...]]]:
    """The shape of the page, without anything in it that runs."""
    answer = client.get(reverse("tunnel:nodes"), query)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    elements = Elements(answer.content.decode())
    scripts = [attrs for tag, attrs in elements.found if tag == "script"]
    assert all(attrs.get("src") or attrs.get("type") == "application/json" for attrs in scripts)
    return elements.shape()


@pytest.mark.parametrize("view", ["cards", "table"])
def test_nothing_a_node_says_is_markup(admin_client, talkative, view):
    plain = shape(admin_client, view=view)
    assert not [name for _, names in plain for name in names if name.startswith("on") or name == "style"]
    for text in PAYLOADS:
        say_everywhere(talkative, text)
        assert shape(admin_client, view=view) == plain, text


def test_nothing_an_address_says_is_markup(admin_client, talkative):
    plain = sorted(shape(admin_client, q="zzzz", tag="zzzz"))  # the chips stand in order of their words
    for text in PAYLOADS:
        found = shape(admin_client, q=text, tag=text[:50], state=text, page=text, view=text)
        assert sorted(found) == plain, text


def test_the_json_of_a_hostile_node_is_json(admin_client, talkative):
    for text in PAYLOADS:
        say_everywhere(talkative, text)
        answer = admin_client.get(reverse("tunnel:nodes_data"))
        assert answer.headers["Content-Type"] == "application/json"
        card = answer.json()["cards"][0]
        assert card["cpu"] is None
        assert all(word.isprintable() for word in (card["name"], card["agent_id"], card["os"], *card["tags"]))
        page = admin_client.get(reverse("tunnel:nodes")).content.decode()
        assert config(page)["first"]["cards"] == [card]


def config(page: str) -> dict[str, Any]:
    """What the page tells its script."""
    return json.loads(re.search(r'<script id="yt-config" type="application/json">(.*?)</script>', page)[1])


def test_the_poll_says_what_the_page_says(admin_client, worker):
    make("alpha", worker)
    first = config(admin_client.get(reverse("tunnel:nodes")).content.decode())["first"]
    polled = admin_client.get(reverse("tunnel:nodes_data")).json()
    assert {**polled, "now": 0} == {**first, "now": 0}
    assert polled["cards"][0]["state"] == "active"
    assert polled["counts"] == [1, 1]


def test_a_poll_of_some_servers_tells_of_them_and_counts_all(admin_client, worker):
    pks = [make(name, worker).pk for name in ("alpha", "beta", "gamma")]
    polled = admin_client.get(reverse("tunnel:nodes_data"), {"ids": f"{pks[0]},{pks[2]},999"}).json()
    assert [card["name"] for card in polled["cards"]] == ["alpha", "gamma"]
    assert polled["counts"] == [3, 3]


@pytest.mark.parametrize("ids", ["x", "1,-2", "1.5", "9" * 40, "²", ",".join(map(str, range(201)))])
def test_a_poll_of_nonsense_is_refused(admin_client, ids):
    assert admin_client.get(reverse("tunnel:nodes_data"), {"ids": ids}).status_code == 400


@pytest.mark.parametrize("query", ["", "?q=agent&state=active", "?view=cards", "?view=table&page=2"])
@pytest.mark.parametrize("page", ["tunnel:nodes", "tunnel:nodes_data"])
def test_the_number_of_queries_does_not_grow_with_the_servers(admin_client, page, query):
    def count() -> int:
        with CaptureQueriesContext(connection) as caught:
            admin_client.get(reverse(page) + query)
        return len(caught)

    fill(120, samples=1, prefix="first")
    few = count()
    fill(300, samples=1, prefix="more", seed=2)
    assert count() == few


def test_a_page_of_a_thousand_servers_is_there_in_time(admin_client):
    fill(1000, samples=1)
    admin_client.get(reverse("tunnel:nodes"))  # templates and catalogues are read once a process
    started = time.thread_time()
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert time.thread_time() - started < 0.3  # of a processor: others use this machine, too
    assert len(cards(page)) == listing.PAGE


# -- the state in SQL ----------------------------------------------------------------------------------------------


def test_the_state_in_sql_is_the_state_in_python(worker):
    fill(200, samples=0)
    make("lost", worker)
    Session.objects.filter(server__name="lost").update(worker=lapsed(timedelta(seconds=5)))
    make("gone", worker)
    Session.objects.filter(server__name="gone").update(worker=lapsed(timedelta(minutes=5)))
    held = make("held", worker)
    identity.suspend(held)
    servers = Server.objects.all()
    told = {pk: there.state.value for pk, there in presence.of(servers).items()}
    assert dict(presence.with_state(servers).values_list("pk", "tunnel_state")) == told
    assert set(told.values()) == set(State.values)
    active = {pk for pk, state in told.items() if state == State.ACTIVE}
    assert set(presence.active_servers().values_list("pk", flat=True)) == active


def lapsed(ago: timedelta) -> Worker:
    """A worker whose lease ran out so long ago."""
    key = uuid.uuid4()
    sessions.open_worker(key, f"inbox-{key}")
    Worker.objects.filter(pk=key).update(lease_until=timezone.now() - ago)
    return Worker.objects.get(pk=key)


# -- searching, filtering, paging ----------------------------------------------------------------------------------


@pytest.fixture
def three(worker) -> list[Server]:
    made = [make("alpha", worker), make("beta", worker, ended=timedelta(hours=3)), make("gamma", worker)]
    for server, names in zip(made, [["prod", "web"], ["prod"], ["Home"]], strict=True):
        server.tags.add(*[Tag.objects.get_or_create(name=name)[0] for name in names])
    return made


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["beta", "alpha", "gamma"]),
        ("?q=ALPH", ["alpha"]),
        ("?q=home", ["gamma"]),
        ("?q=+prod+", ["beta", "alpha"]),
        ("?state=active", ["alpha", "gamma"]),
        ("?state=active&state=offline", ["beta", "alpha", "gamma"]),
        ("?tag=prod", ["beta", "alpha"]),
        ("?tag=prod&tag=Home", ["beta", "alpha", "gamma"]),
        ("?tag=prod&state=active", ["alpha"]),
        ("?tag=nobody", []),
        ("?state=<script>&page=abc&tag=", ["beta", "alpha", "gamma"]),
        ("?page=99999999999999999999&q=%00", []),
        ("?page=-1&view=<b>", ["beta", "alpha", "gamma"]),
        ("?view=table&state=offline", ["beta"]),
    ],
)
def test_the_address_says_what_is_looked_for(admin_client, three, query, names):
    page = admin_client.get(reverse("tunnel:nodes") + query).content.decode()
    assert [name for _, name in cards(page)] == names
    assert ("No node matches" in page.split("yt-config")[0]) is (names == [])


def test_a_chosen_chip_is_checked_and_tells_its_number(admin_client, three):
    page = admin_client.get(reverse("tunnel:nodes") + "?state=active&tag=prod").content.decode()
    boxes = [attrs for tag, attrs in Elements(page).found if tag == "input" and "value" in attrs]
    chosen = {box["value"] for box in boxes if "checked" in box}
    assert chosen == {"active", "prod"}
    assert re.search(r'value="prod".*?yt-many">2<', page, re.DOTALL)


def test_a_large_panel_is_a_table_of_pages_with_trouble_first(admin_client):
    fill(250, samples=0)
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    shown = cards(page)
    assert "yt-table" in page
    assert len(shown) == listing.PAGE
    assert {state for state, _ in shown[:20]} == {"offline", "reconnecting"}
    assert "1–100 of 250" in page
    pages = [
        admin_client.get(reverse("tunnel:nodes"), {"page": number}).content.decode()
        for number in (1, 2, 3, 4)
    ]
    names = [name for one in pages[:3] for _, name in cards(one)]
    assert len(set(names)) == len(names) == 250
    assert cards(pages[3]) == cards(pages[2])  # beyond the last is the last
    assert (
        'href="?q=node&amp;state=active&amp;page=3"'
        in admin_client.get(reverse("tunnel:nodes") + "?page=2&q=node&state=active").content.decode()
    )


def test_the_view_is_kept_for_the_person_who_chose_it(admin_client, three):
    address = reverse("tunnel:nodes")
    assert "yt-table" not in admin_client.get(address).content.decode()
    assert "yt-table" in admin_client.get(address, {"view": "table"}).content.decode()
    assert "yt-table" in admin_client.get(address).content.decode()
    other = get_user_model().objects.create_superuser("other", password="pw")
    admin_client.force_login(other)
    assert "yt-table" not in admin_client.get(address).content.decode()


def test_filters_carry_a_bounded_number_of_things():
    from django.http import QueryDict

    query = QueryDict(mutable=True)
    query.setlist("tag", [f"tag-{number}" for number in range(1000)])
    query["q"] = "x" * 10_000
    filters = Filters.of(query)
    assert len(filters.tags) == listing.MAX_CHOSEN
    assert len(filters.text) == listing.MAX_SEARCH


# -- why a node is not there ---------------------------------------------------------------------------------------


def test_a_refused_attempt_is_told_with_what_to_do(admin_client, worker):
    server, _ = identity.create("alpha")
    Refusal.objects.create(server=server, reason=RefusalReason.WRONG_SECRET, address="203.0.113.9", times=3)
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert "refused: wrong secret, from 203.0.113.9, 3 times" in page
    assert "Put the newest secret into the agent’s settings" in page


def test_what_the_agent_said_of_its_last_cut_is_told(admin_client, worker):
    server = make("alpha", worker, ended=timedelta(hours=1))
    Session.objects.filter(server=server).update(agent_reason="no byte for 18 s")
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert "Of the cut before that its agent said: no byte for 18 s" in page


@pytest.mark.parametrize(
    ("version", "old"), [("0.0.9", True), ("0.1.0", False), ("99.0", False), ("<b>", False), ("", False)]
)
def test_an_agent_older_than_the_panels_is_marked(admin_client, worker, version, old):
    server = make("alpha", worker)
    Server.objects.filter(pk=server.pk).update(agent_version=version)
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert ("data-outdated" in page) is old


# -- rights --------------------------------------------------------------------------------------------------------


def offered(page: str, name: str) -> set[str]:
    """What the menu of the first card offers."""
    card = page.split(f">{name}</a></h2>")[1].split("</article>")[0]
    return set(re.findall(r'<li><a href="[^"]*" data-do="(\w+)"', card))


def test_the_menu_offers_what_this_person_may_do_on_this_server(client, staff, worker):
    mine, seen = make("mine", worker), make("seen", worker)
    for server, permissions in ((mine, ["change", "rotate_secret"]), (seen, ["view"])):
        group = ServerGroup.objects.create(name=server.name)
        group.servers.add(server)
        Grant.objects.create(server_group=group, user=staff, permissions=permissions)
    make("hidden", worker)
    page = client.get(reverse("tunnel:nodes")).content.decode()
    assert {name for _, name in cards(page)} == {"mine", "seen"}
    assert offered(page, "mine") == {"overview", "settings", "suspend", "rotate"}
    assert offered(page, "seen") == {"overview", "settings"}
    identity.suspend(mine)
    page = client.get(reverse("tunnel:nodes")).content.decode()
    assert offered(page, "mine") == {"overview", "settings", "reactivate", "rotate"}
    hidden = Server.objects.get(name="hidden").pk
    polled = client.get(reverse("tunnel:nodes_data"), {"ids": f"{hidden},{mine.pk}"}).json()
    assert [card["name"] for card in polled["cards"]] == ["mine"]
    assert polled["counts"] == [1, 2]


def test_whoever_may_not_add_servers_is_offered_no_button(client, staff, worker):
    staff.user_permissions.add(Permission.objects.get(codename="view_server"))
    assert reverse("admin:servers_server_add") not in client.get(reverse("tunnel:nodes")).content.decode()


@pytest.fixture
def staff(client):
    user = get_user_model().objects.create_user("staff", password="x", is_staff=True)
    client.force_login(user)
    return user


def test_staff_without_the_right_sees_that_there_is_nothing_to_see(client, staff, worker):
    make("alpha", worker)
    page = client.get(reverse("tunnel:nodes")).content.decode()
    assert cards(page) == []
    assert "alpha" not in page
    assert "Nothing to see for you" in page
    assert client.get(reverse("tunnel:nodes_data")).json()["cards"] == []


def test_staff_with_the_right_sees_the_servers_and_the_entry_in_the_index(client, staff, worker):
    make("alpha", worker)
    staff.user_permissions.add(Permission.objects.get(codename="view_server"))
    assert cards(client.get(reverse("tunnel:nodes")).content.decode()) == [("active", "alpha")]
    index = client.get(reverse("admin:index")).content.decode()
    assert reverse("admin:tunnel_node_changelist") in index
    assert client.get(reverse("admin:tunnel_node_changelist")).url == reverse("tunnel:nodes")


@pytest.mark.parametrize("name", ["tunnel:nodes", "tunnel:nodes_data"])
def test_who_is_not_logged_in_comes_to_the_login(client, name):
    answer = client.get(reverse(name))
    assert answer.status_code == 302
    assert "/login/" in answer.url


def test_an_empty_panel_says_what_a_node_is(admin_client):
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert "Add your first node" in page
    assert reverse("admin:servers_server_add") in page


def test_the_page_speaks_indonesian(admin_client, worker):
    make("alpha", worker)
    with translation.override("id"):
        page = admin_client.get(reverse("tunnel:nodes"), headers={"accept-language": "id"}).content.decode()
    assert "Orkestrasi Node" in page
    assert "1 dari 1 tunnel aktif" in page
    assert "Tunnel Aktif" in page
