"""Imported first in a panel of the tests: it has what requirements.txt installs, and none of what they have beside it.

The REST framework imports requests, pygments and psycopg where it finds them, a fifth of the start of each process.
"""

import os
import sys

BESIDE = {"requests", "pygments", "psycopg"}
if os.environ.get("DATABASE_URL", "").startswith("postgres"):
    BESIDE.remove("psycopg")
sys.modules.update(dict.fromkeys(BESIDE - set(sys.modules)))
