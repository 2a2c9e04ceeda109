"""Makes the panel as large as a figure needs it."""

from django.db import transaction

from servers.models import Server
from tests.bench_data import fill

SAMPLES = 2  # figures kept of each server; the pages of all servers read none of them


@transaction.atomic
def grow(servers: int) -> None:
    """Add servers until there are so many."""
    there = Server.objects.count()
    fill(servers - there, samples=SAMPLES, prefix=f"after-{there}")
