"""The background worker's jobs arrive over the real `jobs` layer, and none of them ends the process."""

import asyncio

import pytest
from channels.layers import get_channel_layer
from django.core.management import CommandError, call_command, get_commands, load_command_class

from servers import identity
from servers.models import Server
from servers.threads import in_thread
from tests.tunnel.waiting import until
from tunnel.background import BackgroundConsumer
from tunnel.worker import BACKGROUND, JOBS


def test_runworker_without_arguments_is_ours():
    assert get_commands()["runworker"] == "tunnel"
    command = load_command_class("tunnel", "runworker")
    assert command.create_parser("manage.py", "runworker").parse_args([]).channels == []


def test_a_worker_that_no_job_can_reach_says_so(settings):
    in_memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    settings.CHANNEL_LAYERS = {**settings.CHANNEL_LAYERS, "jobs": in_memory}
    with pytest.raises(CommandError, match="`jobs` lives in memory"):
        call_command("runworker")


@pytest.mark.django_db(transaction=True)
async def test_figures_are_written_and_a_job_that_fails_ends_nothing(redis_url, caplog):
    server, _ = await in_thread(identity.create, "web-01")
    layer, consumer = get_channel_layer(JOBS), BackgroundConsumer()

    async def work() -> None:
        while True:
            await consumer.dispatch(await layer.receive(BACKGROUND))

    task = asyncio.create_task(work())
    for message in (
        {"type": "figures.write", "rows": "nonsense"},
        {"type": "no.such.job"},
        {"type": "tick"},
        {
            "type": "figures.write",
            "rows": [[server.pk, {"cpu": 42.0, "evil": "<script>"}, 0.01, 1_700_000_000.0]],
        },
    ):
        await layer.send(BACKGROUND, message)
    row = Server.objects.filter(pk=server.pk, last_usage_at__isnull=False).values("last_usage", "rtt_seconds")
    async with asyncio.timeout(10):
        while (found := await in_thread(row.first)) is None:
            await asyncio.sleep(0.01)
    assert found == {"last_usage": {"cpu": 42.0}, "rtt_seconds": 0.01}
    await until(lambda: "a job failed" in caplog.text)
    assert "unknown job" in caplog.text
    task.cancel()
    await asyncio.wait([task])
