"""A slow line between a node and a worker: the node is in a network namespace, and its cable carries a megabit a second.

What comes faster waits in a queue of 0.4 seconds and is dropped behind it, as in a plain router (tests.faults.namespaces).
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.relay import Relay
from tests.faults import namespaces
from yumna_panel.demo import certificate

# Of the network for measurements, RFC 2544.
NEAR, FAR = "198.18.77.1", "198.18.77.2"


class Missing(Exception):
    """There are no namespaces here, or not for whoever runs this."""


@dataclass(frozen=True)
class Line:
    """Where an agent runs, which master it dials, and whom it trusts."""

    inside: tuple[str, ...]
    url: str
    authority: str


@contextmanager
def line(folder: Path, port: int) -> Iterator[Line]:
    """Lay such a line to a worker's port of this machine; TLS ends before it, as an agent demands.

    Raises:
        Missing: it cannot be had.
    """
    with ExitStack() as stack:
        try:
            (node,) = stack.enter_context(namespaces.namespaces("node"))
            device = f"{node[:9]}-near"
            namespaces.ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", node)
            namespaces.ip("address", "add", f"{NEAR}/30", "dev", device)
            namespaces.ip("link", "set", device, "up")
            namespaces.ip("-n", node, "address", "add", f"{FAR}/30", "dev", "eth0")
            namespaces.ip("-n", node, "link", "set", "eth0", "up")
            namespaces.slow_down("", device)
            namespaces.slow_down(node, "eth0")
        except (OSError, subprocess.CalledProcessError) as exc:
            raise Missing(
                f"a network namespace could not be made, which takes root and iproute2: {exc}"
            ) from exc
        made = certificate.ensure(folder / "tls", NEAR)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(made.chain, made.key)
        relay = Relay(port, tls, NEAR)
        stack.callback(relay.stop)
        yield Line(namespaces.inside(node), f"https://{NEAR}:{relay.port}", str(made.authority))
