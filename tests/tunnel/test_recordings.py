"""Recordings: what stands in a file, who writes it, and who may watch it."""

import asyncio
import json
import os
import stat
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from agent_client.protocol import Code
from servers import identity
from servers.models import CommandRecord
from servers.threads import in_thread
from tests.tunnel.test_shells import HOST, Box, box, pages, person  # noqa: F401 - two are fixtures
from tests.tunnel.waiting import until
from tunnel import background, checks
from tunnel.models import Recording, RecordingEnd, RecordingPart, Shell, ShellEnd
from tunnel.recordings import recorder, rows, shelf
from tunnel.recordings.cast import Pen, header
from tunnel.recordings.recorders import Recorders
from tunnel.shells.rows import Size

pytestmark = pytest.mark.django_db(transaction=True)
SIZE = Size(80, 24)


def lines(data: bytes) -> list:
    return [json.loads(line) for line in data.splitlines()]


def output(data: bytes) -> str:
    return "".join(event[2] for event in lines(data)[1:] if event[1] == "o")


# -- the file ---------------------------------------------------------------------------------------------------


def test_a_character_cut_in_two_is_whole_in_the_file_whoever_goes_on():
    text = "añ€😀\r\n".encode()
    for cut in range(len(text) + 1):
        first = Pen(0, 0.0, SIZE)
        first.output(0.5, text[:cut])
        stored = first.written()
        second = Pen(stored.position, stored.seconds, SIZE)
        second.go_on(1.0, stored.position)
        second.output(1.0, text[stored.position :])
        second.finish(1.0)
        whole = header(SIZE, 0, "t") + stored.data + second.written().data
        assert output(whole).encode() == text


def test_what_is_no_utf8_is_replaced_and_counted():
    pen = Pen(0, 0.0, SIZE)
    pen.output(0.1, b"\xff\xfea\xc3")
    assert pen.position == 3
    pen.finish(0.2)
    assert output(header(SIZE, 0, "t") + pen.written().data) == "\ufffd\ufffda\ufffd"
    assert pen.position == 4


def test_a_gap_and_a_new_size_are_marked_and_time_never_runs_back():
    pen = Pen(10, 2.0, SIZE)
    pen.output(1.0, b"a\xc3")
    pen.go_on(3.0, 500)
    pen.resize(3.5, Size(100, 30))
    pen.resize(3.6, Size(100, 30))
    written = pen.written()
    events = [json.loads(line) for line in written.data.splitlines()]
    assert events == [
        [2.0, "o", "a"],
        [3.0, "m", "489 bytes of output are missing here"],
        [3.5, "r", "100x30"],
    ]
    assert (written.position, written.missing) == (500, 489)


def test_what_came_while_a_part_was_stored_waits_for_the_next_one():
    pen = Pen(0, 0.0, SIZE)
    pen.output(0.1, b"one")
    written = pen.written()
    pen.output(0.2, b"two")
    pen.forget(written)
    assert [json.loads(line)[2] for line in pen.written().data.splitlines()] == ["two"]
    assert pen.bytes == len(pen.written().data)


# -- rows -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell() -> Shell:
    server, _ = identity.create("web-01")
    return Shell.objects.create(server=server, handle="h", program="/bin/sh", opener="ana")


def part(position: int, text: str = "x") -> tuple:
    pen = Pen(0, 0.0, SIZE)
    pen.output(0.5, text.encode())
    written = pen.written()
    return written.data, written.__class__(written.data, position, 0.5, 0, 1)


def test_one_worker_writes_and_after_its_lease_another_one(shell):
    first = rows.begin(shell.pk, SIZE, "a")
    assert first is not None
    assert rows.begin(shell.pk, SIZE, "b") is None
    assert rows.claim("b") == []
    assert rows.add(first.turn, 0, *part(5))
    Recording.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert rows.renew("a", [first.turn]) == {first.turn}, "nobody took it meanwhile"
    Recording.objects.update(lease_until=Now() - timedelta(seconds=1))
    (second,) = rows.claim("b")
    assert (second.position, second.parts) == (5, 1)
    assert rows.claim("c") == []
    assert rows.renew("a", [first.turn]) == set()
    assert not rows.add(first.turn, 1, *part(9)), "it was held up, and its turn is over"
    assert not rows.end(first.turn, RecordingEnd.EXITED)
    assert rows.add(second.turn, 1, *part(9))
    assert not rows.add(second.turn, 1, *part(9)), "a part is written once"
    assert rows.end(second.turn, RecordingEnd.EXITED, 0)
    assert RecordingPart.objects.count() == 2
    assert rows.claim("c") == []


def test_a_shell_that_nobody_records_is_recorded_at_the_next_look(shell, settings):
    settings.TUNNEL_RECORD_SHELLS = False
    assert rows.begin_missing("a") == []
    assert rows.begin(shell.pk, SIZE, "a") is None
    settings.TUNNEL_RECORD_SHELLS = True
    assert len(rows.begin_missing("a")) == 1
    assert rows.begin_missing("b") == []


def test_files_are_private_and_go_with_their_row(shell):
    task = rows.begin(shell.pk, SIZE, "a")
    rows.add(task.turn, 0, *part(5))
    name = RecordingPart.objects.get().name
    path = storages[shelf.ALIAS].path(name)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    Shell.objects.all().delete()
    assert Recording.objects.get().shell is None, "the recording stays"
    shell.server.delete()
    assert not os.path.exists(os.path.dirname(path))


def test_an_old_file_is_removed_and_its_row_tells_when(shell):
    task = rows.begin(shell.pk, SIZE, "a")
    rows.add(task.turn, 0, *part(5))
    name = RecordingPart.objects.get().name
    assert background.prune()["recordings"] == 0
    rows.end(task.turn, RecordingEnd.EXITED, 0)
    Recording.objects.update(ended_at=timezone.now() - timedelta(days=31))
    assert background.prune()["recordings"] == 1
    assert not storages[shelf.ALIAS].exists(name)
    assert Recording.objects.get().removed_at is not None
    Recording.objects.update(ended_at=timezone.now() - timedelta(days=91))
    assert background.prune()["removed recordings"] == 1


def test_without_a_storage_for_recordings_nothing_is_recorded_and_who_asked_for_it_is_told(settings):
    assert shelf.wanted()
    assert checks.recordings_have_a_storage() == []
    without_storage(settings)
    assert not shelf.wanted()
    assert checks.recordings_have_a_storage() == []
    settings.TUNNEL_RECORD_SHELLS = True
    (message,) = checks.recordings_have_a_storage()
    assert message.id == "tunnel.W029"
    settings.TUNNEL_RECORD_SHELLS = False
    assert checks.recordings_have_a_storage() == []


def without_storage(settings: Any) -> None:
    settings.STORAGES = {name: one for name, one in settings.STORAGES.items() if name != shelf.ALIAS}


def test_a_panel_that_took_its_storage_away_says_so_and_prunes_the_rest(shell, settings, caplog):
    task = rows.begin(shell.pk, SIZE, "a")
    data, written = part(5, "hello")
    rows.add(task.turn, 0, task.opening + data, written)
    rows.end(task.turn, RecordingEnd.EXITED, 0)
    Recording.objects.filter(pk=task.turn.recording).update(ended_at=timezone.now() - timedelta(days=31))
    client = browser("watcher", "view_recording")
    without_storage(settings)
    for address in (f"/admin/tunnel/recordings/{task.turn.recording}/", "/admin/tunnel/recording/"):
        assert client.get(address).status_code == 200
    page = client.get(f"/admin/tunnel/recordings/{task.turn.recording}/").content.decode()
    assert "no storage for recordings any more" in page
    assert "Download" not in page
    answer = client.get(f"/admin/tunnel/recordings/{task.turn.recording}/cast/")
    assert (answer.status_code, "no storage for recordings" in answer.content.decode()) == (503, True)
    assert not CommandRecord.objects.exists()
    Shell.objects.update(ended_at=timezone.now() - timedelta(days=91))
    pruned = background.prune()
    assert (pruned["recordings"], pruned["shells"]) == (0, 1)
    assert "old recordings cannot be removed" in caplog.text


async def test_what_was_being_recorded_ends_where_there_is_no_storage_any_more(shell, settings):
    task = await in_thread(rows.begin, shell.pk, SIZE, "a")
    without_storage(settings)
    writer = recorder.Recorder(task)
    writer._pen.output(0.0, b"what another settings file had it keep")
    await asyncio.wait_for(writer.run(), 10)
    assert (await in_thread(lambda: Recording.objects.get())).end == RecordingEnd.SWITCHED_OFF


@pytest.mark.parametrize(
    "told", [None, [], {}, {"shells": None}, {"shells": 7}, {"shells": {"a": 1}}, {"shells": ["a", None, 3]}]
)
def test_of_a_node_that_lists_nonsense_no_shell_is_believed(told):
    assert recorder._listed(told) == []


# -- a recorder -------------------------------------------------------------------------------------------------


@pytest.fixture
def _recorded(settings, monkeypatch):
    settings.ALLOWED_HOSTS = [HOST]
    monkeypatch.setattr(recorder, "PART_SECONDS", 0.2)


def joined() -> bytes:
    """The file as it stands, made of nothing but its parts."""
    return b"".join(shelf.read(name) for name in rows.part_names(Recording.objects.get()))


async def stored(text: str) -> None:
    """Wait until the file holds this output."""

    async def there() -> bool:
        data = await in_thread(joined)
        return bool(data) and output(data) == text

    for _ in range(200):
        if await there():
            return
        await asyncio.sleep(0.05)
    raise AssertionError((await in_thread(joined))[-500:])


async def ended() -> Recording:
    def found() -> Recording | None:
        return Recording.objects.exclude(ended_at=None).first()

    for _ in range(200):
        if (row := await in_thread(found)) is not None:
            return row
        await asyncio.sleep(0.05)
    raise AssertionError("the recording did not end")


@pytest.mark.usefixtures("_recorded")
async def test_a_shell_is_recorded_from_its_first_byte_to_its_end_and_no_key_is(box, pages):  # noqa: F811
    page = await pages("ann")
    opened = await page.open()
    assert opened["recorded"] is True
    box.write("$ hé".encode())
    await page.type(b"secret-typed")
    await until(lambda: box.typed == b"secret-typed")
    await stored("$ hé")
    box.write(b"llo\r\n")
    await until(lambda: page.data.endswith(b"llo\r\n"))
    box.end(3)
    row = await ended()
    data = await in_thread(joined)
    assert output(data) == "$ héllo\r\n"
    assert b"secret" not in data
    assert lines(data)[0]["width"] == 80
    assert (row.end, row.exit_code, row.opener, row.size) == (RecordingEnd.EXITED, 3, "ann", len(data))
    assert row.seconds == lines(data)[-1][0]
    attached = [one for one in box.asked if one.action == "attach"]
    assert [(one.params["write"], one.params["record"]) for one in attached] == [(False, True)]
    assert not await in_thread(CommandRecord.objects.filter(action="attach").exists)


@pytest.mark.usefixtures("_recorded")
async def test_a_lost_tunnel_leaves_no_gap_and_what_is_not_kept_is_marked(box, pages):  # noqa: F811
    page = await pages("ann")
    await page.open()
    box.write(b"one ")
    await stored("one ")
    box.lose()
    box.outputs[next(iter(box.outputs))] += b"two "
    await box.connect()
    await stored("one two ")
    box.lose()
    box.outputs[next(iter(box.outputs))] += b"three four"
    box.kept_from = len(b"one two three ")
    await box.connect()
    await stored("one two four")
    data = await in_thread(joined)
    assert "6 bytes of output are missing here" in [event[2] for event in lines(data)[1:] if event[1] == "m"]
    assert (await in_thread(Recording.objects.get)).missing == 6


@pytest.mark.usefixtures("_recorded")
async def test_a_position_that_no_column_holds_keeps_no_recording_from_being_stored(box, pages):  # noqa: F811
    box.lies = {"offset": 2**70}
    page = await pages("ann")
    await page.open()
    box.write(b"one ")
    await stored("one ")
    box.end(0)
    assert (await ended()).end == RecordingEnd.EXITED


@pytest.mark.usefixtures("_recorded")
async def test_at_the_largest_size_the_file_says_so_and_the_shell_goes_on(box, pages, monkeypatch):  # noqa: F811
    monkeypatch.setattr(recorder, "MIB", 16)
    page = await pages("ann")
    await page.open()
    box.write(b"x" * 3000)
    row = await ended()
    assert row.end == RecordingEnd.TOO_LARGE
    assert lines(await in_thread(joined))[-1][1] == "m"
    assert not (await in_thread(Shell.objects.get)).ended_at
    await page.type(b"y")
    await until(lambda: box.typed == b"y")


@pytest.mark.usefixtures("_recorded")
async def test_an_agent_that_cannot_be_recorded_is_told_in_the_row(box, pages, monkeypatch):  # noqa: F811
    answer = Box._answer

    def old(self, node, command):
        if "record" in command.params:
            node.agent.fail(command.id, Code.INVALID_PARAMS, "parameter 'record' is unknown")
            node.flush()
        else:
            answer(self, node, command)

    monkeypatch.setattr(Box, "_answer", old)
    await box.connect()
    page = await pages("ann")
    await page.open()
    row = await ended()
    assert row.end == RecordingEnd.NOT_POSSIBLE
    assert "upgrade" in row.get_end_display()


@pytest.mark.usefixtures("_recorded")
async def test_a_stopping_worker_stores_what_waits_and_another_one_goes_on(box, pages, monkeypatch):  # noqa: F811
    monkeypatch.setattr(recorder, "PART_SECONDS", 60.0)
    page = await pages("ann")
    await page.open()
    box.write(b"before ")
    await until(lambda: page.data == b"before ")
    told = []
    # The same process plays the other worker: what it holds is told apart by its name alone.
    await until(lambda: any(one.action == "attach" for one in box.asked))
    await box.worker.recorders.stop()
    await stored("before ")
    other = Recorders(Recording().pk, lambda: told.append(1))
    await other.look()
    monkeypatch.setattr(recorder, "PART_SECONDS", 0.1)
    box.write(b"after")
    await stored("before after")
    await other.stop()
    assert told == [1]


@pytest.mark.usefixtures("_recorded")
async def test_a_storage_that_is_away_loses_nothing(box, pages, monkeypatch):  # noqa: F811
    put, tries = shelf.put, []

    def away(*args):
        tries.append(1)
        if len(tries) < 3:
            raise OSError("no such host")
        return put(*args)

    monkeypatch.setattr(shelf, "put", away)
    page = await pages("ann")
    await page.open()
    box.write(b"kept")
    await stored("kept")
    assert len(tries) >= 3


@pytest.mark.usefixtures("_recorded")
async def test_a_shell_the_node_knows_no_more_ends_its_recording(box, pages):  # noqa: F811
    page = await pages("ann")
    await page.open()
    box.write(b"x")
    await stored("x")
    box.lose()
    box.outputs.clear()
    await box.connect()
    assert (await ended()).end == RecordingEnd.GONE
    assert (await in_thread(Shell.objects.get)).end == ShellEnd.GONE


# -- who watches ------------------------------------------------------------------------------------------------


def browser(name: str, *rights: str) -> Client:
    client = Client()
    client.cookies["sessionid"] = person(name, *rights)
    return client


def body(answer) -> bytes:
    async def read() -> bytes:
        return b"".join([piece async for piece in answer.streaming_content])

    return asyncio.run(read())


def test_a_file_is_got_by_who_may_watch_and_that_is_in_the_history(shell):
    task = rows.begin(shell.pk, SIZE, "a")
    data, written = part(5, "hello")
    rows.add(task.turn, 0, task.opening + data, written)
    address = f"/admin/tunnel/recordings/{task.turn.recording}/cast/"
    assert browser("opener", "open_shell", "change").get(address).status_code == 403
    assert CommandRecord.objects.count() == 0
    client = browser("watcher", "view_recording")
    watched = client.get(address)
    assert output(body(watched)) == "hello"
    assert "no-store" in watched["Cache-Control"]
    kept = client.get(f"{address}?download=1")
    assert kept["Content-Disposition"].startswith('attachment; filename="web-01-')
    assert body(kept) == task.opening + data
    assert list(CommandRecord.objects.order_by("created_at").values_list("service", "action", "actor")) == [
        ("recording", "watch", "watcher"),
        ("recording", "download", "watcher"),
    ]
    assert b"web-01" in client.get("/admin/tunnel/recording/?q=ana").content
    assert b"hello" not in client.get("/admin/tunnel/recording/").content


def test_a_file_that_broke_off_plays_up_to_there_and_one_without_a_byte_is_one(shell):
    task = rows.begin(shell.pk, SIZE, "a")
    client = browser("watcher", "view_recording")
    address = f"/admin/tunnel/recordings/{task.turn.recording}/cast/"
    assert lines(body(client.get(address)))[0]["version"] == 2
    data, written = part(5, "hello")
    rows.add(task.turn, 0, task.opening + data, written)
    rows.add(task.turn, 1, data, written)
    shelf.storage().delete(RecordingPart.objects.get(number=1).name)
    assert output(body(client.get(address))) == "hello"
    Recording.objects.update(ended_at=timezone.now() - timedelta(days=31))
    rows.remove_old()
    assert client.get(address).status_code == 410
    page = client.get(f"/admin/tunnel/recordings/{task.turn.recording}/")
    assert b"removed by its age on" in page.content
