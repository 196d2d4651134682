"""The Celery app and the doorbell. Celery is the fleet of workers; its message is a doorbell and nothing more.

A ring carries names and an id, never a ticket. Losing one, doubling one or getting one late changes nothing: the
worker asks the desk, and the coordinator's sweep rings again. So nothing here waits, retries or redelivers on purpose.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from shiftlead.config.redis_client import broker_url_for, check_safe
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from .errors import Unavailable
from .keys import INTAKE_QUEUE, celery_queue

__all__ = ["ENQUEUE", "RING", "Ring", "make_app", "ring", "run_celery"]

RING = "shiftlead.ring"
ENQUEUE = "shiftlead.enqueue"
BATCH = 500
RESULT_S = 3600
UNKNOWN_QUEUE = "shiftlead.unknown"  # where a message goes that names no queue: nobody listens, nothing is run


class Ring(NamedTuple):
    """Whom to ring for which ticket. `number` and `type` are only shown, in Flower."""

    team: str
    agent: str
    ticket: str
    number: str = ""
    type: str = ""


def make_app(settings: Settings, teams: Sequence[Team]) -> Celery:
    """The Celery app of one process: the same broker, queues and rules for everyone.

    Raises:
        InsecureRedis: the broker is remote and has neither password nor TLS.
    """
    broker = settings.broker_url or broker_url_for(settings.redis_address)
    check_safe(broker, allow=settings.insecure_redis)
    app = Celery("shiftlead", broker=broker, backend=broker_url_for(settings.redis_address), set_as_current=False)
    app.conf.update(
        accept_content=["json"],  # never pickle
        task_serializer="json",
        result_serializer="json",
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,  # only shiftlead.enqueue answers: with the ticket's number
        result_expires=RESULT_S,
        task_queues=_queues(teams),
        task_default_queue=UNKNOWN_QUEUE,
        task_default_exchange="",
        broker_transport_options=_transport(settings),
        redis_socket_timeout=settings.socket_timeout_s,
        redis_socket_connect_timeout=_connect_timeout_s(settings),
        redis_backend_health_check_interval=10,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=True,  # Flower shows them
        task_send_sent_event=False,
        enable_utc=True,
    )
    return app


def ring(app: Celery, rings: Iterable[Ring | tuple[str, ...]]) -> int:
    """Ring for each ticket; returns how many rings were sent. Blocks at most about one socket timeout.

    Raises:
        Unavailable: the broker did not answer; some rings may have been heard. Ring again at the next sweep.
    """
    todo = [Ring(*r) for r in rings]
    if not todo:
        return 0
    try:
        with app.producer_pool.acquire(block=True) as producer:
            batch: Any = producer.batch  # type: ignore[attr-defined]  # newer than the stubs
            with batch(max_size=BATCH):
                for one in todo:
                    _publish(app, producer, one)
    except (RedisError, KombuError, OSError) as error:
        raise Unavailable(
            f"The broker did not take {len(todo)} rings ({type(error).__name__}: {error}). Their tickets stay "
            "assigned; the next sweep rings again."
        ) from error
    return len(todo)


def run_celery(
    app: Celery, *, node: str, queues: Sequence[str], concurrency: int, on_start: Callable[[Any], None] | None = None
) -> int:
    """Run a Celery worker in this process until it is told to stop; returns its exit code.

    `on_start` gets the worker before it starts. Threads, because a model call waits; no mingle and no gossip, because
    workers owe each other nothing.
    """
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # a line a ring helps nobody
    worker = app.Worker(
        hostname=node, pool="threads", concurrency=concurrency, queues=list(queues), quiet=True, task_events=True,
        without_mingle=True, without_gossip=True, loglevel="INFO",
    )  # fmt: skip
    if on_start is not None:
        on_start(worker)
    worker.start()
    return int(worker.exitcode or 0)


def _publish(app: Celery, producer: Any, one: Ring) -> None:
    message = app.amqp.as_task_v2(
        str(uuid.uuid4()),
        RING,
        args=(one.team, one.agent, one.ticket),
        shadow=_label(one),
        argsrepr=f"({one.number or one.ticket})",
        kwargsrepr="{}",
        ignore_result=True,
    )
    # The default exchange needs no look-up of bindings. retry=False: a doorbell is not worth waiting for.
    producer.publish(
        message.body,
        exchange="",
        routing_key=celery_queue(one.team, one.agent),
        headers=message.headers,
        serializer="json",
        retry=False,
        **message.properties,
    )


def _label(one: Ring) -> str:
    """`agent / type`: what Flower lists and counts by, so few different ones and no markup."""
    kind = re.sub(r"[^\w.-]+", "_", one.type)[:40]
    return f"{one.agent} / {kind}" if kind else one.agent


def _queues(teams: Sequence[Team]) -> list[Queue]:
    names = [celery_queue(t.team, a) for t in teams for a, spec in t.agents.items() if not spec.human]
    direct = Exchange("", type="direct")
    return [Queue(name, exchange=direct, routing_key=name) for name in (*names, INTAKE_QUEUE)]


def _transport(settings: Settings) -> dict[str, Any]:
    """No retry_on_timeout here: kombu batches only where a pipeline is never sent twice in silence."""
    return {
        "priority_steps": [0],  # one list per queue instead of four
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": _connect_timeout_s(settings),
        "socket_keepalive": True,
        "health_check_interval": 10,
        "max_connections": 100,
    }


def _connect_timeout_s(settings: Settings) -> float:
    return min(3.0, settings.socket_timeout_s)
