"""Every setting once: name, default, unit, sentence.

Each can be set in the environment as SHIFTLEAD_<NAME IN CAPITALS>. `tests/house` checks that the README lists them all.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["Settings", "get_settings"]


class Settings(BaseSettings):
    """How one installation runs. Times are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(env_prefix="SHIFTLEAD_", extra="ignore", frozen=True)

    home: Path = Field(
        Path("~/.local/state/shiftlead"), description="data folder: embedded server, SQLite ledger, socket, logs"
    )
    team: str = Field("front_office", description="the team a command means when it names none")
    teams: Annotated[list[Path], NoDecode] = Field(
        [Path("teams")], description="folders with own teams, separated by ':'; the shipped teams come after them"
    )
    overlay: Path | None = Field(None, description="YAML merged over the team file, as the demonstration does")
    redis_url: str = Field("", description="Redis or Valkey to use; empty = the embedded server in the data folder")
    database_url: str = Field("", description="SQL database of the ledger; empty = SQLite in the data folder")
    broker_url: str = Field("", description="Celery broker; empty = the same server as redis_url")
    insecure_redis: bool = Field(False, description="allow a remote Redis without password or TLS")
    url: str = Field("", description="address of a running Shiftlead the command line should speak to over HTTP")
    key: str = Field("", description="API key the command line sends to that address")
    host: str = Field("127.0.0.1", description="address the HTTP door and Flower listen on")
    port: int = Field(8140, ge=1, le=65535, description="port of the HTTP door")
    flower_port: int = Field(8141, ge=1, le=65535, description="port of Flower")
    flower_auth: str = Field("", description="user:password for Flower; empty = made once and kept in the data folder")
    log_level: str = Field("INFO", description="least severe level that is logged")
    lease_s: float = Field(30.0, gt=0, description="seconds an agent holds a ticket without a sign of life")
    claim_deadline_s: float = Field(10.0, gt=0, description="seconds an assigned agent has to claim its ticket")
    run_deadline_s: float = Field(900.0, gt=0, description="seconds after which a running handler is given up")
    grace_s: float = Field(30.0, gt=0, description="seconds a stopping worker may finish what it began")
    presence_ttl_s: float = Field(3.0, gt=0, description="seconds a worker counts as present after its last beat")
    leader_lease_s: float = Field(3.0, gt=0, description="seconds after which a standby coordinator takes over")
    sweep_s: float = Field(1.0, gt=0, description="seconds between two safety sweeps of the coordinator")
    accept_deadline_s: float = Field(1800.0, gt=0, description="seconds a handed-on ticket may wait to be claimed")
    approval_expires_s: float = Field(
        14400.0, gt=0, description="seconds an approval waits when its gate names no time"
    )
    escalation_s: float = Field(1800.0, gt=0, description="seconds until the first escalation step by default")
    max_crashes: int = Field(3, ge=1, description="crashes while alone after which a ticket is failed")
    max_handoffs: int = Field(8, ge=1, description="handoffs one line of tickets may take")
    max_turns: int = Field(30, ge=1, description="steps, handoffs and waits one life of a ticket may take")
    max_ticket_bytes: int = Field(262_144, ge=1024, description="largest ticket in bytes")
    acknowledge: str = Field("sql", pattern="^(sql|redis)$", description="where an accept must stand: sql or redis")
    record_timeout_s: float = Field(3.0, gt=0, description="seconds a door waits for the ledger before it says 503")
    lag_s: float = Field(5.0, gt=0, description="seconds the ledger may be behind before intake closes")
    lag_lines: int = Field(50_000, ge=1, description="ledger lines it may be behind before intake closes")
    socket_timeout_s: float = Field(5.0, gt=0, description="seconds any Redis call may take")
    per_customer: int = Field(5, ge=1, description="ready tickets of one customer; the others stand behind them")
    retain_s: float = Field(604_800.0, gt=0, description="seconds a completed ticket stays in Redis; SQL keeps it")
    calendar_refresh_s: float = Field(300.0, gt=0, description="seconds between two readings of an agent's calendar")
    notice_group_s: float = Field(60.0, ge=0, description="seconds in which notices to one target become one message")
    notices: str = Field(
        "", description="file escalation notices are appended to; empty = notices.jsonl in the data folder"
    )
    repositories: Path | None = Field(
        None, description="folder with the git repositories agents may work on; empty = they work on none"
    )
    github_secret: SecretStr = Field(
        SecretStr(""), description="secret GitHub signs its webhooks with; empty = that door is closed"
    )
    github_team: str = Field("", description="team that gets what comes by that door; empty = the default team")
    # The usual OPENAI_API_KEY and OPENAI_BASE_URL are not read: a key that lies there for another program must not make
    # Shiftlead spend money with it and send tickets out of the house. What is used is what was named for Shiftlead.
    openai_base_url: str = Field(
        "", description="address of an OpenAI-compatible server, as http://127.0.0.1:11434/v1; empty = OpenAI's own"
    )
    openai_api_key: SecretStr = Field(
        SecretStr(""), description="its key; without key and address `brain: openai` works as the offline brain"
    )
    openai_model: str = Field("gpt-4.1-mini", min_length=1, description="model the agents think with")
    openai_fallback_model: str = Field("", description="model that is asked when the first gives no usable report")
    openai_timeout_s: float = Field(60.0, gt=0, description="seconds one call of a model may take")
    openai_prices: str = Field(
        "", description='JSON, money per million tokens by model: {"NAME": {"input": 0.4, "output": 1.6}}'
    )
    openai_temperature: float = Field(0.2, ge=0, le=2, description="how freely a model answers; low = the same again")
    openai_max_tokens: int = Field(4096, ge=64, description="tokens one answer of a model may have")
    openai_context_tokens: int = Field(16_000, ge=2000, description="tokens one prompt may have; the rest is condensed")

    @field_validator("teams", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [Path(p) for p in value.split(":") if p] if isinstance(value, str) else value

    @field_validator("openai_prices")
    @classmethod
    def _prices(cls, value: str) -> str:
        try:
            found = json.loads(value or "{}")
            numbers = [n for price in found.values() for n in (price["input"], price["output"])]
            usable = all(isinstance(n, int | float) and math.isfinite(n) and n >= 0 for n in numbers)
        except (ValueError, AttributeError, KeyError, TypeError):
            usable = False
        if not usable:
            raise ValueError('prices are written as {"NAME": {"input": 0.4, "output": 1.6}}, per million tokens')
        return value

    @property
    def openai_configured(self) -> bool:
        """Whether there is a model to ask: a key, or the address of a server that may need none."""
        return bool(self.openai_base_url or self.openai_api_key.get_secret_value())

    @property
    def data(self) -> Path:
        """The data folder, absolute."""
        return self.home.expanduser().absolute()

    @property
    def socket_path(self) -> Path:
        """The embedded server's Unix socket. A path over 108 bytes does not bind, so a long folder gets a short one."""
        path = self.data / "redis.sock"
        if len(os.fsencode(path)) < 100:
            return path
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"shiftlead-{os.getuid()}-{digest}" / "redis.sock"

    @property
    def redis_address(self) -> str:
        """The Redis or Valkey that is used: the configured one, else the embedded one's socket."""
        return self.redis_url or f"unix://{self.socket_path}"

    @property
    def database_address(self) -> str:
        """The SQL database that is used: the configured one, else SQLite in the data folder."""
        return self.database_url or f"sqlite:///{self.data / 'ledger.db'}"

    @property
    def heartbeat_s(self) -> float:
        """Seconds between two renewals of a lease: a third of it, so two may be lost."""
        return self.lease_s / 3


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once from the environment."""
    return Settings()
