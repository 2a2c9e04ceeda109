"""Settings of the usual way: Channels, one channel layer on Redis with the best settings its documentation names."""

import os

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["channels"]
DATABASES: dict[str, object] = {}
REDIS = [os.environ["REDIS_URL"]]
LAYERS = {
    "pubsub": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": REDIS},
    },
    # Its 100 messages of a channel and its 60 seconds would lose messages at this rate.
    "core": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": REDIS, "capacity": 10_000, "expiry": 60, "group_expiry": 86_400},
    },
}
CHANNEL_LAYERS = {"default": LAYERS[os.environ["BENCH_LAYER"]]}
