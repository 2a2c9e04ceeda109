"""The site's settings with two more views, through which a test commands agents from inside a worker."""

import os
import sys

from django.conf import global_settings

# A panel has what requirements.txt installs. What the tests have beside it is a third of each start: the REST framework
# imports it where it finds it.
BESIDE = {"requests", "pygments", "psycopg"}
if os.environ.get("DATABASE_URL", "").startswith("postgres"):
    BESIDE.remove("psycopg")
sys.modules.update(dict.fromkeys(BESIDE - set(sys.modules)))

from tests.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS

ROOT_URLCONF = "tests.e2e.urls"
TUNNEL_REFUSAL_DELAY = 0.3
TUNNEL_HEARTBEAT = 20.0  # a basic agent is dead after three of them without a byte
