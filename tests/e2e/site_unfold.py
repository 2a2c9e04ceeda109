"""The site's settings with django-unfold, as its own documentation installs it."""

from tests.e2e.site import *  # noqa: F403
from tests.e2e.site import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
# Unfold evaluates expressions of its pages and styles inline: no policy as strict as this site's lets it live.
MIDDLEWARE = [name for name in MIDDLEWARE if name != "csp.middleware.CSPMiddleware"]
