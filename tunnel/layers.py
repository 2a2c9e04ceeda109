"""The channel layers as they are configured: what kind each is, and whether it carries a message."""

import asyncio
import uuid
from enum import Enum
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.utils.module_loading import import_string

DEFAULT, JOBS = "default", "jobs"
# Seconds; Redis answers in milliseconds, and the layer's own retries go on for many seconds.
PROBE_DEADLINE = 3.0


class Kind(Enum):
    """What a channel layer is made of."""

    MISSING = "missing"
    BROKEN = "broken"  # its class cannot be imported
    IN_MEMORY = "in memory"
    CORE = "Redis, core"
    PUBSUB = "Redis, pubsub"
    OTHER = "other"


def kind(alias: str) -> Kind:
    """Return what kind of layer stands under `alias`, without a connection to it."""
    config = getattr(settings, "CHANNEL_LAYERS", {}).get(alias)
    if config is None:
        return Kind.MISSING
    try:
        backend = import_string(config["BACKEND"])
    except (ImportError, KeyError, TypeError):
        return Kind.BROKEN
    return next((known for cls, known in _known() if issubclass(backend, cls)), Kind.OTHER)


async def probe(alias: str) -> None:
    """Send a message through the layer to ourselves and receive it.

    Raises:
        TimeoutError: it did not come back within PROBE_DEADLINE.
        Exception: whatever the layer raises, which depends on what it is made of.
    """
    layer: Any = get_channel_layer(alias)
    channel = await layer.new_channel("tunnel-probe.")
    word = uuid.uuid4().hex
    async with asyncio.timeout(PROBE_DEADLINE):
        await layer.send(channel, {"type": "tunnel.probe", "word": word})
        while (await layer.receive(channel)).get("word") != word:
            pass


def _known() -> list[tuple[type, Kind]]:
    known: list[tuple[type, Kind]] = [(InMemoryChannelLayer, Kind.IN_MEMORY)]
    try:
        from channels_redis.core import RedisChannelLayer
        from channels_redis.pubsub import RedisPubSubChannelLayer
    except ImportError:  # a panel on another layer need not have channels_redis
        return known
    return [*known, (RedisPubSubChannelLayer, Kind.PUBSUB), (RedisChannelLayer, Kind.CORE)]
