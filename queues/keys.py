"""Every Redis key family: type, meaning, what it is rebuilt from. Names are built here and nowhere else.

All keys of a team share one hash tag, so one script may touch them all, on a cluster too. The scripts in `lua/` get
the tag as KEYS[1] and append the same names.

family             type     meaning                                                     rebuilt from
meta               hash     epoch of the team                                           ledger_head
ticket:<id>        hash     doc (JSON), v version, k token, s seq, p places, t timers,  ticket.doc
                            c cards, f marks
lines:<id>         hash     seq -> line, only lines that are not yet in SQL              - (SQL has them)
queue:<queue>      zset     id by created_at / assigned_at / closed_at: the three queues ticket.doc
new                zset     ids to triage, by created_at                                ticket.doc
ready:<lane>:<grp> zset     ids somebody should get, by due                             ticket.doc
groups             set      names of the ready sets there are                           ticket.doc
ready_of:<crowd>   zset     ready tickets of one <lane>:<customer>:<group>, by due      ticket.doc
behind:<crowd>     zset     ready, but behind enough others of that crowd, by due       ticket.doc
behinds            set      crowds with tickets behind                                  ticket.doc
customer:<digest>  hash     id -> state|agent|group of what somebody holds              ticket.doc
served:<digest>    string   agent|when of who resolved one for the customer last        completed tickets
waiters:<id>       hash     ids of tickets that are blocked on this one                 ticket.doc
heavy:<agent>      hash     id -> slots beyond the first, held tickets                  ticket.doc
mark               hash     digest of a text or link -> the open ticket that has it     ticket.doc
run                hash     agent -> urgent assignments in a row                        - (begins anew)
assigned:<agent>   zset     ids rung to the agent, by assigned_at                       ticket.doc
working:<agent>    zset     ids the agent works on                                      ticket.doc
waiting            zset     ids that wait for somebody, by since                        ticket.doc
timers             zset     <kind>:<id> by the moment it fires                          ticket.doc
wake               set      parents one of whose children closed                        waiting tickets
numbers            hash     number -> id                                                ticket.number
counter:<year>     string   last number given out                                       ticket.number
idem:<hash>        string   idempotency key -> id and hash of the request               idempotency
ledger             stream   lines on their way to SQL                                   -
recorded           stream   one entry: the stream id SQL has reached                    ledger_head.cursor
bell               list     one element: the coordinator should look                    -
leader             string   who coordinates, with a TTL                                 -
presence           zset     <agent>|<worker> by the moment it stops counting            workers' beats
workers            hash     <agent>|<worker> -> JSON about the process                  workers' beats
meetings           hash     agent -> end, subject, problem of its calendar now, JSON    the calendars
refused            hash     reason -> count                                             refusal
spent:<whose>      hash     tokens, money, runs of a ticket, of @<agent>:<day>, of      spending
                            day:<day>, what is reserved included; gen: when loaded
"""

from __future__ import annotations

__all__ = ["Keys", "celery_queue"]


class Keys:
    """The names of one team's keys."""

    def __init__(self, team: str) -> None:
        self.team = team
        self.tag = f"{{shiftlead:{team}}}"
        self.meta = self("meta")
        self.new = self("new")
        self.groups = self("groups")
        self.waiting = self("waiting")
        self.timers = self("timers")
        self.wake = self("wake")
        self.numbers = self("numbers")
        self.ledger = self("ledger")
        self.recorded = self("recorded")
        self.bell = self("bell")
        self.leader = self("leader")
        self.presence = self("presence")
        self.workers = self("workers")
        self.refused = self("refused")
        self.behinds = self("behinds")
        self.mark = self("mark")
        self.run = self("run")
        self.meetings = self("meetings")

    def __call__(self, name: str) -> str:
        return f"{self.tag}:{name}"

    def ticket(self, ticket_id: str) -> str:
        return self(f"ticket:{ticket_id}")

    def lines(self, ticket_id: str) -> str:
        return self(f"lines:{ticket_id}")

    def queue(self, name: str) -> str:
        return self(f"queue:{name}")

    def ready(self, lane: str, group: str) -> str:
        return self(f"ready:{lane}:{group}")

    def assigned(self, agent: str) -> str:
        return self(f"assigned:{agent}")

    def working(self, agent: str) -> str:
        return self(f"working:{agent}")

    def ready_of(self, crowd: str) -> str:
        return self(f"ready_of:{crowd}")

    def behind(self, crowd: str) -> str:
        return self(f"behind:{crowd}")

    def customer(self, customer: str) -> str:
        return self(f"customer:{customer}")

    def served(self, customer: str) -> str:
        return self(f"served:{customer}")

    def heavy(self, agent: str) -> str:
        return self(f"heavy:{agent}")

    def spent(self, whose: str) -> str:
        return self(f"spent:{whose}")

    def counter(self, year: int) -> str:
        return self(f"counter:{year}")

    def idem(self, digest: str) -> str:
        return self(f"idem:{digest}")


def celery_queue(team: str, agent: str) -> str:
    """The agent's own Celery queue. Ours are hash-tagged, so the two can never be the same key."""
    return f"shiftlead.{team}.{agent}"


INTAKE_QUEUE = "shiftlead.intake"
