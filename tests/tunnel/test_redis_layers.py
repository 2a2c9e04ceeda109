"""The channel layers work with the options we give, on every kind of Redis address, and idle for long."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.ports import free_port, wait_for_port
from tunnel.redis_layers import SOCKET_TIMEOUT, channel_layers, redis_host
from yumna_panel.demo import certificate
from yumna_panel.embedded_redis import find_binary

IDLE = 11.0  # seconds; with redis-py's own timeout of 5 an idle consumer died after 5.3 to 5.7
LAYERS = [RedisPubSubChannelLayer, RedisChannelLayer]


@contextmanager
def redis_with(*options: str, port: int):
    """Run a Redis with these options until the block ends."""
    process = subprocess.Popen(
        [find_binary(), "--save", "", "--appendonly", "no", *options], stdout=subprocess.DEVNULL
    )
    try:
        wait_for_port(port)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def tcp_url():
    port = free_port()
    with redis_with("--port", str(port), "--bind", "127.0.0.1", port=port):
        yield f"redis://127.0.0.1:{port}/1"


@pytest.fixture
def tls_url(tmp_path: Path):
    files = certificate.ensure(tmp_path / "tls", "redis.test")
    port = free_port()
    options = ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(files.chain), "--tls-key-file", str(files.key)]
    with redis_with(*options, "--tls-ca-cert-file", str(files.authority), port=port):
        yield f"rediss://127.0.0.1:{port}?ssl_ca_certs={files.authority}"


async def carries_a_message(layer) -> None:
    channel = await layer.new_channel()
    try:
        await layer.send(channel, {"type": "greet", "body": b"\x00\xff"})
        assert await asyncio.wait_for(layer.receive(channel), 5) == {"type": "greet", "body": b"\x00\xff"}
    finally:
        await layer.flush() if isinstance(layer, RedisPubSubChannelLayer) else await layer.close_pools()


@pytest.mark.parametrize("layer", LAYERS)
async def test_a_unix_socket_carries_a_message(layer, redis_url):
    await carries_a_message(layer(hosts=[redis_host(redis_url)]))


@pytest.mark.parametrize("layer", LAYERS)
async def test_tcp_carries_a_message(layer, tcp_url):
    await carries_a_message(layer(hosts=[redis_host(tcp_url)]))


@pytest.mark.redis_tls
@pytest.mark.parametrize("layer", LAYERS)
async def test_tls_carries_a_message(layer, tls_url):
    await carries_a_message(layer(hosts=[redis_host(tls_url)]))


@pytest.mark.redis_tls
async def test_a_redis_with_a_strange_certificate_is_refused(tls_url, tmp_path):
    stranger = certificate.ensure(tmp_path / "stranger", "redis.test").authority
    host = {**redis_host(tls_url.partition("?")[0]), "ssl_ca_certs": str(stranger), "retry": None}
    layer = RedisChannelLayer(hosts=[host])
    with pytest.raises(RedisConnectionError, match="certificate verify failed"):
        await layer.send("somewhere", {"type": "greet"})
    await layer.close_pools()


async def test_an_idle_consumer_outlives_the_timeouts_on_both_layers(redis_url):
    layers = [layer(hosts=[redis_host(redis_url)], prefix="idle") for layer in LAYERS]
    channels = [await layer.new_channel() for layer in layers]
    waiting = [
        asyncio.create_task(layer.receive(channel)) for layer, channel in zip(layers, channels, strict=True)
    ]
    done, _ = await asyncio.wait(waiting, timeout=IDLE)
    assert not done
    for layer, channel in zip(layers, channels, strict=True):
        await layer.send(channel, {"type": "late"})
    assert await asyncio.gather(*waiting) == [{"type": "late"}] * 2
    await layers[0].flush()
    await layers[1].close_pools()


def test_the_timeout_lies_well_above_the_blocking_read():
    assert 2 * RedisChannelLayer.brpop_timeout <= SOCKET_TIMEOUT


def test_commands_and_jobs_have_a_layer_each():
    layers = channel_layers("redis://127.0.0.1")
    assert layers["default"]["BACKEND"] == "channels_redis.pubsub.RedisPubSubChannelLayer"
    assert layers["jobs"]["BACKEND"] == "channels_redis.core.RedisChannelLayer"
    assert layers["default"]["CONFIG"]["hosts"][0]["protocol"] == 2
