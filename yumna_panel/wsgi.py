"""The WSGI application, for pages behind a WSGI server; agents and live pages need `yumna_panel.asgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yumna_panel.settings")
application = get_wsgi_application()
