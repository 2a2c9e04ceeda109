"""The two channel layers: `default` for what goes between workers, `jobs` for the background worker.

Imported by settings modules, so nothing here needs Django to be set up.
"""

from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

# Seconds. channels_redis blocks 5 s in a read and redis-py would give up after 5 s: idle consumers died of it.
SOCKET_TIMEOUT = 15.0
# A pool at its limit raises, and the default of 100 is reached by 100 commands at once.
MAX_CONNECTIONS = 1000
RETRIES = 20  # with pauses of up to a second: a Redis that restarts is waited for, a lost one is reported
RETRY_PAUSE, RETRY_PAUSE_LIMIT = 0.05, 1.0  # seconds, doubling


def redis_host(url: str) -> dict[str, Any]:
    """Return one entry of `hosts` for channels_redis, from redis://, rediss:// or unix://."""
    return {
        "address": url,
        "protocol": 2,  # RESP3 formats every push for a log nobody reads (redis-py issue 4230)
        "max_connections": MAX_CONNECTIONS,
        "socket_timeout": SOCKET_TIMEOUT,
        "retry": Retry(ExponentialBackoff(cap=RETRY_PAUSE_LIMIT, base=RETRY_PAUSE), RETRIES),
    }


def channel_layers(redis_url: str) -> dict[str, dict[str, Any]]:
    """Return CHANNEL_LAYERS for this Redis; without one both layers live in the process."""
    if not redis_url:
        in_memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
        return {"default": in_memory, "jobs": in_memory}
    config = {"hosts": [redis_host(redis_url)]}
    return {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": config},
        "jobs": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config},
    }
