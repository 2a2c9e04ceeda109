"""Database work in threads of its own."""

import pytest
from django.db import connection

from servers.models import Server
from servers.threads import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


async def test_statements_kept_under_debug_are_gone_with_the_call(settings):
    settings.DEBUG = True
    kept = await in_thread(_count_and_look)
    assert kept >= 1
    assert await in_thread(lambda: len(connection.queries_log)) == 0


def _count_and_look() -> int:
    Server.objects.count()
    return len(connection.queries_log)
