"""`manage.py runworker`: Channels' command, which without arguments does the tunnel's background work."""

import asyncio
from typing import Any

from channels.management.commands import runworker
from channels.worker import Worker
from django.core.management.base import CommandError, CommandParser

from tunnel import layers
from tunnel.background import NAME, keep_sweeping
from tunnel.layers import Kind
from tunnel.shells.rounds import Rounds
from tunnel.worker import BACKGROUND, JOBS


class SweepingWorker(Worker):  # type: ignore[misc] # Channels has no types
    """Takes jobs, and by itself sweeps and goes round over the shells."""

    async def handle(self) -> None:
        """Run until told to stop."""
        tasks = [
            asyncio.create_task(keep_sweeping(), name="tunnel sweep"),
            asyncio.create_task(Rounds(NAME).keep_going(), name="tunnel rounds over shells"),
        ]
        try:
            await super().handle()
        finally:
            for task in tasks:
                task.cancel()


class Command(runworker.Command):  # type: ignore[misc] # Channels has no types
    """Run background work: write figures, end sessions of dead workers and lost shells, prune."""

    help = "Runs background work. With no channels named: the tunnel's own, on the layer `jobs`."

    def add_arguments(self, parser: CommandParser) -> None:
        """Make the channels optional."""
        super().add_arguments(parser)
        for action in parser._actions:
            if action.dest == "channels":
                action.nargs, action.required, action.default = "*", False, []

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until told to stop.

        Raises:
            CommandError: no job can reach this process.
        """
        if not options["channels"]:
            if layers.kind(JOBS) is Kind.IN_MEMORY:
                raise CommandError(
                    f"the channel layer `{JOBS}` lives in memory, no job reaches this process; set REDIS_URL"
                )
            options.update(channels=[BACKGROUND], layer=JOBS)
            self.worker_class = SweepingWorker
        super().handle(*args, **options)
