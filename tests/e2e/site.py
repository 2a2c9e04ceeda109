"""The site's settings with two more views, through which a test commands agents from inside a worker."""

from django.conf import global_settings

import tests.e2e.bare  # noqa: F401 - before all else
from tests.settings import *  # noqa: F403

PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS

ROOT_URLCONF = "tests.e2e.urls"
TUNNEL_REFUSAL_DELAY = 0.3
TUNNEL_HEARTBEAT = 20.0  # a basic agent is dead after three of them without a byte
