"""The site's settings, with a second factor before commands and shells."""

from tests.e2e.site import *  # noqa: F403

TUNNEL_SECOND_FACTOR = 3600
