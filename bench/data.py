"""Makes the panel as large as a figure needs it."""

import json

from django.db import transaction

from servers import identity
from servers.models import Server
from tests.bench_data import fill

SAMPLES = 2  # figures kept of each server; the pages of all servers read none of them


@transaction.atomic
def grow(servers: int) -> None:
    """Add servers until there are so many."""
    there = Server.objects.count()
    fill(servers - there, samples=SAMPLES, prefix=f"after-{there}")


@transaction.atomic
def secrets(names: list[str]) -> None:
    """Add these servers, or give those that are there a new secret; print the secrets by name as a JSON object."""
    there = {server.name: server for server in Server.objects.filter(name__in=names)}
    made = {}
    for name in names:
        if name in there:
            made[name] = identity.rotate_secret(there[name])
        else:
            made[name] = identity.create(name, agent_id=name)[1]
    print(json.dumps(made))
