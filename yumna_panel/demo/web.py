"""One web worker of the demo: Uvicorn on the listening socket that the supervisor hands in as descriptor 0."""

import os
import socket

import uvicorn

MESSAGE_LIMIT = 1_048_576  # bytes of a WebSocket message; the protocol's own limits lie well below
PING_INTERVAL, PING_TIMEOUT = 30.0, 60.0  # seconds


def main() -> None:
    """Serve until a signal ends us, with the flags that are recommended in production."""
    config = uvicorn.Config(
        "yumna_panel.asgi:application",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MESSAGE_LIMIT,
        ws_ping_interval=PING_INTERVAL,
        ws_ping_timeout=PING_TIMEOUT,
        proxy_headers=False,
        lifespan="off",
        access_log=False,
        log_config=None,  # the site's own logging
        ssl_certfile=os.environ.get("YUMNA_TLS_CERTIFICATE"),
        ssl_keyfile=os.environ.get("YUMNA_TLS_KEY"),
    )
    with socket.socket(fileno=os.dup(0)) as listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
