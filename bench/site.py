"""The site's settings in production, with addresses through which a worker times its own commands and counts its SQL."""

from bench import statements
from yumna_panel.settings import *  # noqa: F403

ROOT_URLCONF = "bench.urls"
statements.start()
