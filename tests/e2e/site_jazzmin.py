"""The site's settings with django-jazzmin, as its own documentation installs it, without the font of another host."""

from tests.e2e.site import *  # noqa: F403
from tests.e2e.site import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ["jazzmin", *INSTALLED_APPS]
# Jazzmin has inline scripts and styles.
MIDDLEWARE = [name for name in MIDDLEWARE if name != "csp.middleware.CSPMiddleware"]
JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}
