"""Network namespaces that a test makes and takes away: machines, cables between them, and faults on the cables."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

RATE, BURST, LATENCY = "1mbit", "16kb", "400ms"  # of a slow line; tc-tbf(8)


def ip(*arguments: str) -> None:
    """Run ip."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def inside(name: str, *command: str) -> tuple[str, ...]:
    """Return the command, to be run in a namespace; without a name it is the machine's own."""
    return ("ip", "netns", "exec", name, *command) if name else command


def run(name: str, *command: str, **options) -> subprocess.CompletedProcess[str]:
    """Run a command in a namespace."""
    return subprocess.run(inside(name, *command), capture_output=True, text=True, timeout=30, **options)


@contextmanager
def namespaces(*roles: str) -> Iterator[tuple[str, ...]]:
    """Make namespaces with loopback, named after their roles and nobody else's; all are gone afterwards."""
    mark = uuid.uuid4().hex[:6]
    names = tuple(f"yt-{mark}-{role}" for role in roles)
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def join(
    first: str, first_name: str, first_address: str, second: str, second_name: str, second_address: str
) -> None:
    """Lay a cable between two namespaces."""
    ends = ((first, first_name, first_address), (second, second_name, second_address))
    peer = ("peer", "name", second_name, "netns", second)
    ip("link", "add", first_name, "netns", first, "type", "veth", *peer)
    for name, device, address in ends:
        ip("-n", name, "address", "add", address, "dev", device)
        ip("-n", name, "link", "set", device, "up")


def drop(name: str, *, arriving: bool = False, leaving: bool = False, when: str = "") -> None:
    """Have a namespace drop TCP packets that arrive or leave; `when` narrows it in nft's words."""
    hooks = [hook for hook, wanted in (("input", arriving), ("output", leaving)) if wanted]
    chains = [
        f"chain {hook} {{\ntype filter hook {hook} priority filter\nip protocol tcp {when} drop\n}}\n"
        for hook in hooks
    ]
    run(name, "nft", "-f", "-", input=f"table ip faults {{\n{''.join(chains)}}}\n", check=True)


def heal(name: str) -> None:
    """Take back what `drop` did."""
    run(name, "nft", "delete", "table", "ip", "faults", check=True)


def slow_down(name: str, device: str) -> None:
    """Let no more than 1 Mbit/s leave through a device."""
    rate = ("rate", RATE, "burst", BURST, "latency", LATENCY)
    run(name, "tc", "qdisc", "add", "dev", device, "root", "tbf", *rate, check=True)
