"""Steps that tests of tools share: the team of tests/fixtures/till, its billing database, a toolbox for a ticket."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shiftlead.agents.agent import Work
from shiftlead.agents.billing import BillingTools
from shiftlead.agents.billing_tables import CHANGE, CUSTOMER, ORDER, SUBSCRIPTION, Billing
from shiftlead.agents.tool import registry
from shiftlead.agents.tools import Toolbox
from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import SHIPPED, Team, load_team
from shiftlead.queues.effects import Effects
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.reports import action_hash
from shiftlead.queues.ticket import Ticket

SEED = SHIPPED / "support_desk" / "data" / "billing.json"
GOLD, SILVER, BASIC = "sofia_li_9219", "mia_garcia_4516", "aarav_anderson_8794"
CAMERA = "#W4689314"  # GOLD's, 2,895.55, bought 30 days ago
BICYCLE = "#W3916020"  # GOLD's, 45 days ago
MOUSE = "#W7387996"  # SILVER's, 158.89, 31 days ago
KETTLES = "#W4316152"  # BASIC's, 189.60, 12 days ago


def team_folder(root: Path) -> Path:
    """The team's folder under `root`, with the shipped customers and orders."""
    folder = root / "till"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "fixtures" / "till" / "team.yaml", folder / "team.yaml")
    shutil.copy(SEED, folder / "data" / "billing.json")
    return folder


class Till:
    """The team's ledger, effects and billing database in one folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.team: Team = load_team(team_folder(folder), Settings(home=folder))
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.ledger.migrate()
        self.effects = Effects(self.ledger, "till", self.clock)
        self.billing = Billing.opened(f"sqlite:///{folder / 'billing.db'}", SEED, now=self.clock.now())
        self.registry = registry(BillingTools(self.billing))
        self.notes: list[tuple[str, dict[str, Any]]] = []

    def close(self) -> None:
        self.billing.close()
        self.ledger.close()

    def ticket(self, customer: str = GOLD, **values: Any) -> Ticket:
        given = {"id": "t1", "number": "T-2026-001", "team": "till", "customer": customer, "token": 5} | values
        return Ticket.model_validate(given)

    def toolbox(
        self, ticket: Ticket | None = None, *, agent: str = "bill", answers: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> Toolbox:  # fmt: skip
        ticket = ticket or self.ticket()
        work = Work(agent=agent, ticket=ticket, token=ticket.token, answers=answers or [])
        given = {"now": self.clock.now, "note": lambda text, detail: self.notes.append((text, detail))} | more
        effects, known = given.pop("effects", self.effects), given.pop("registry", self.registry)
        return Toolbox(work, self.team, effects, known, **given)

    def value(self, column: sa.Column[Any], row_id: str) -> Any:
        table = column.table
        with self.billing.reading() as connection:
            return connection.execute(sa.select(column).where(table.c.id == row_id)).scalar_one()

    def refunded(self, order_id: str) -> int:
        """In cents."""
        return int(self.value(ORDER.c.refunded, order_id))

    def credit(self, customer: str) -> int:
        """In cents."""
        return int(self.value(CUSTOMER.c.credit, customer))

    def method(self, subscription: str) -> str:
        return str(self.value(SUBSCRIPTION.c.payment_method_id, subscription))

    def changes(self) -> int:
        with self.billing.reading() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(CHANGE)).scalar_one()


def a_yes(arguments: dict[str, Any], action: str = "process_refund", **values: Any) -> dict[str, Any]:
    """The answer of an approval, as the coordinator brings it back."""
    answer = {
        "ticket": "a1", "number": "T-2026-002", "type": "approval", "state": "resolved", "decision": "approve",
        "agent": "boss", "aided": True, "action": action, "arguments": arguments,
        "hash": action_hash(action, arguments),
    }  # fmt: skip
    return answer | values
