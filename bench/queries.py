"""Counts the queries of pages, inside a process of the panel."""

import json

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext


def count(paths: dict[str, str]) -> None:
    """Print the queries of each page as a JSON object; the first request of each is not counted."""
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(get_user_model().objects.get(username="admin"))
    found = {}
    for name, path in paths.items():
        client.get(path)
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(path)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answers {answer.status_code}")
        found[name] = len(captured)
    print(json.dumps(found))
