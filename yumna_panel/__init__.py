"""The site: settings, URLs and the ASGI application. Wiring, no rules."""
