"""What a person said yes to before work begins (TA-08), as the tools that change a repository read it.

The yes is looked up among the answers of the ticket and of those it was handed on from - never in a text. It counts
when a person gave it, to an approval that ticket asked for, bound by its hash to exactly these arguments. The newest
word counts: after a no there is no yes any more.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shiftlead.config.team import Team
from shiftlead.queues.reports import action_hash
from shiftlead.queues.ticket import Ticket

from .tool import Call
from .tools_api import ToolRefused

__all__ = ["ACTION", "StartWork", "granted", "word_on_start"]

ACTION = "start_work"
FIX = re.compile(r"fix/(T-\d{4}-\d{3,9})-[a-z0-9][a-z0-9-]{0,60}", re.ASCII)
Words = Annotated[str, Field(min_length=1, max_length=2000)]


class StartWork(BaseModel):
    """The arguments of `start_work`: what is done, how one knows that it worked, and where it may be done."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    scope: Words
    acceptance_criteria: Annotated[list[Words], Field(min_length=1, max_length=20)]
    repository: Words
    base: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$", description="commit the branch begins at")]
    branch: Annotated[str, Field(pattern=rf"^{FIX.pattern}$")]
    files: Annotated[list[Words], Field(min_length=1, max_length=50, description="nothing else may be changed")]
    command: Words = Field(description="what shows whether it works")
    revert: Annotated[str, Field(pattern=r"^([0-9a-f]{40,64})?$", description="commit that is taken back")] = ""

    @property
    def ticket(self) -> str:
        """Number of the ticket the branch is called after."""
        named = FIX.fullmatch(self.branch)
        return named[1] if named else ""


def granted(call: Call, repository: str, branch: str, team: Team) -> StartWork:
    """The yes that covers work on this branch.

    Raises:
        ToolRefused: there is none, or it is about something else; says what is missing.
    """
    for ticket in (call.ticket, *call.ancestors):
        answer = word_on_start(ticket)
        if answer is None:
            continue
        if answer.get("decision") != "approve":
            raise ToolRefused(f"{answer.get('number')} says no to {ACTION}: nothing may be changed")
        spec = team.agents.get(str(answer.get("agent")))
        if spec is not None and not spec.human:  # a person had a hand in it, and a program said yes
            raise ToolRefused(f"{answer.get('number')} is a yes of {answer.get('agent')}, who is a program")
        try:
            grant = StartWork.model_validate(answer.get("arguments"))
        except ValidationError as error:
            wanting = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
            raise ToolRefused(f"{answer.get('number')} is a yes that does not say {wanting}: ask again") from None
        return _covers(grant, answer, ticket, repository, branch)
    raise ToolRefused(f"no person has said yes to {ACTION} for this ticket: nothing may be changed before")


def word_on_start(ticket: Ticket) -> dict[str, Any] | None:
    """The newest answer of a person to a `start_work` this ticket asked for; one that expired is none."""
    answer: dict[str, Any]
    for answer in reversed(ticket.answers):
        arguments = answer.get("arguments")
        if answer.get("type") != "approval" or answer.get("action") != ACTION or not isinstance(arguments, dict):
            continue
        ours = answer.get("ticket") in ticket.children and answer.get("hash") == action_hash(ACTION, arguments)
        if ours and answer.get("aided") and answer.get("state") == "resolved":
            return answer
    return None


def _covers(grant: StartWork, answer: dict[str, Any], ticket: Ticket, repository: str, branch: str) -> StartWork:
    number = answer.get("number")
    if grant.repository != repository:
        raise ToolRefused(f"{number} is a yes to work on {grant.repository[:100]!r}, not on {repository!r}")
    if grant.branch != branch:
        raise ToolRefused(f"{number} is a yes to work on the branch {grant.branch}, not on {branch[:100]!r}")
    if grant.ticket != ticket.number:
        raise ToolRefused(f"a branch for {ticket.number} is called fix/{ticket.number}-...")
    return grant
