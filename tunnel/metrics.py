"""What this process has done, counted for Prometheus; without the package prometheus-client nothing is counted.

The parts of the tunnel say what happened by one call each. What is a state and not an event (tunnels held, bytes that
wait) is read when somebody asks. Each worker counts for itself, so each is scraped by itself.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from agent_client import __version__

if TYPE_CHECKING:
    from tunnel.worker import Worker

try:
    import prometheus_client as prometheus
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:  # an extra, not a need
    prometheus = None  # type: ignore[assignment]

Count = Callable[[float], None]

PREFIX: Final = "yumna_tunnel"
# Seconds: from an agent beside the panel to the longest wait of REST.
DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROUND_TRIPS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
# The commands of docs/protocol.md §5 by name; a label must not grow with what people try.
KNOWN: Final = frozenset(
    {
        "system.getUsage",
        "system.getInfo",
        "system.listProcesses",
        "system.exec",
        "agent.ping",
        "agent.getConfig",
    }
)
OTHER: Final = "other"
# What streams are for, by what opened them.
STREAMS: Final = {
    "shell.open": "shell",
    "shell.attach": "shell",
    "shell.pipe": "exec",
    "system.exec": "exec",
}


def handshake(result: str) -> None:
    """Count a handshake: `accepted`, `checked`, `refused` or `unavailable`."""
    if prometheus is not None:
        _handshakes.labels(result).inc()


def session_closed(reason: str) -> None:
    """Count the end of a session, by a word of `CloseReason`."""
    if prometheus is not None:
        _closed.labels(reason).inc()


def command(name: str, status: str, seconds: float) -> None:
    """Count a command that this process asked for: `success` or the code of its error."""
    if prometheus is not None:
        kind = name if name in KNOWN else OTHER
        _commands.labels(kind, status).inc()
        _durations.labels(kind).observe(seconds)


def round_trip(seconds: float) -> None:
    """Take a round trip that an agent measured."""
    if prometheus is not None:
        _round_trips.observe(max(0.0, seconds))


def stream_opened(name: str) -> None:
    """Count a stream that this process owns, by the command that opened it."""
    if prometheus is not None:
        _streams.labels(STREAMS.get(name, OTHER)).inc()


def stream_closed(name: str) -> None:
    """Count its end."""
    if prometheus is not None:
        _streams.labels(STREAMS.get(name, OTHER)).dec()


def stream_counters(name: str) -> tuple[Count, Count]:
    """Return what counts the bytes that come in such a stream, and those that go."""
    if prometheus is None:
        return _nothing, _nothing
    kind = STREAMS.get(name, OTHER)
    return _stream_bytes.labels(kind, "from_node").inc, _stream_bytes.labels(kind, "to_node").inc


def _nothing(_amount: float) -> None:
    """Count nothing."""


def layer_error(op: str) -> None:
    """Count a failure of the channel layer, by what was tried: `publish`, `receive`, `subscribe`."""
    if prometheus is not None:
        _layer_errors.labels(op).inc()


def exposition() -> tuple[bytes, str] | None:
    """Return all metrics as text with its content type; None without prometheus-client."""
    if prometheus is None:
        return None
    return prometheus.generate_latest(_registry), prometheus.CONTENT_TYPE_PLAIN_0_0_4


if prometheus is not None:

    class _States(Collector):
        """What the worker of this process holds now."""

        def collect(self) -> Iterator[Metric]:
            """Yield the states."""
            from tunnel import worker  # it counts here, so it cannot be imported above

            here = worker.running()
            yield GaugeMetricFamily(
                f"{PREFIX}_agents_connected", "Agent tunnels this worker holds.", value=_held(here)
            )
            yield GaugeMetricFamily(
                f"{PREFIX}_send_queue_bytes",
                "Characters that wait for agents that read slowly.",
                value=_waiting(here),
            )
            build = GaugeMetricFamily(
                f"{PREFIX}_build_info", "The version of this panel.", labels=["version"]
            )
            build.add_metric([__version__], 1)
            yield build

    _registry = prometheus.CollectorRegistry()
    _registry.register(_States())
    _handshakes = prometheus.Counter(
        f"{PREFIX}_handshakes_total",
        "Agents that dialled, by how they were answered.",
        ["result"],
        registry=_registry,
    )
    _closed = prometheus.Counter(
        f"{PREFIX}_sessions_closed_total",
        "Sessions that ended here, by reason.",
        ["reason"],
        registry=_registry,
    )
    _commands = prometheus.Counter(
        f"{PREFIX}_commands_total", "Commands this process asked for.", ["type", "status"], registry=_registry
    )
    _durations = prometheus.Histogram(
        f"{PREFIX}_command_duration_seconds",
        "From asking to knowing how it ended.",
        ["type"],
        buckets=DURATIONS,
        registry=_registry,
    )
    _round_trips = prometheus.Histogram(
        f"{PREFIX}_agent_rtt_seconds",
        "Round trips that agents measured.",
        buckets=ROUND_TRIPS,
        registry=_registry,
    )
    _streams = prometheus.Gauge(
        f"{PREFIX}_streams_open", "Streams that callers in this process own.", ["kind"], registry=_registry
    )
    _stream_bytes = prometheus.Counter(
        f"{PREFIX}_stream_bytes_total",
        "Bytes in streams that callers in this process own.",
        ["kind", "direction"],
        registry=_registry,
    )
    _layer_errors = prometheus.Counter(
        f"{PREFIX}_layer_errors_total", "Failures of the channel layer.", ["op"], registry=_registry
    )


def _held(here: "Worker | None") -> int:
    return 0 if here is None else here.tunnels


def _waiting(here: "Worker | None") -> int:
    return 0 if here is None else here.queued
