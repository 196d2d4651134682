"""THE Redis client factory: nobody else builds a client.

redis-py retries ten times in silence by default; when a server freezes that runs a script twice. Here there are no
hidden retries, every call has a timeout, and blocking reads must be shorter than it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .settings import Settings

__all__ = ["InsecureRedis", "broker_url_for", "check_safe", "make_client", "server_time"]

LOOPBACK = {"localhost", "127.0.0.1", "::1", ""}


class InsecureRedis(ValueError):
    """A remote Redis without password or TLS."""


def make_client(url: str, settings: Settings, **extra: Any) -> redis.Redis:
    """A client for `url` (redis://, rediss:// or unix://). Safe to share between threads.

    Raises:
        InsecureRedis: the server is remote and has neither password nor TLS.
    """
    check_safe(url, allow=settings.insecure_redis)
    options: dict[str, Any] = {
        "decode_responses": True,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": min(3.0, settings.socket_timeout_s),
        "health_check_interval": 30,
        "max_connections": 1024,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    options.update(extra)
    client: redis.Redis = redis.Redis.from_url(url, **options)
    return client


def check_safe(url: str, *, allow: bool) -> None:
    """Refuse a remote server that anybody on the way could read or command."""
    parts = urlsplit(url)
    if allow or parts.scheme in ("unix", "rediss") or (parts.hostname or "") in LOOPBACK or parts.password:
        return
    raise InsecureRedis(
        f"{parts.scheme}://{parts.hostname} is remote and has neither password nor TLS. Use rediss:// or a password, "
        "or set SHIFTLEAD_INSECURE_REDIS=1 if the network between is yours alone."
    )


def broker_url_for(redis_url: str) -> str:
    """The same server as kombu spells it: a Unix socket is `redis+socket://` there."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    db = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={db}"


def server_time(client: redis.Redis) -> float:
    """The server's unix time in seconds."""
    seconds, micros = client.time()
    return float(seconds) + micros / 1e6
