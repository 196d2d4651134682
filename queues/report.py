"""What an agent may answer, and the packet a handed-on ticket carries. The same JSON at every door."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

__all__ = [
    "AskHuman", "AskRequester", "Blocked", "Failed", "Finding", "FollowUp", "HandOff", "Later", "Packet", "Part",
    "REPORT", "Report", "Resolved", "Reviewed", "StepDone",
]  # fmt: skip

Text = Annotated[str, Field(max_length=60_000)]
Short = Annotated[str, Field(max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
# As in a team file. A free text here would be the name of a queue of its own.
Capability = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,99}$")]
AgentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
YEAR_S = 366 * 86_400.0


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Packet(_Strict):
    """What goes along with a handed-on ticket: the eight slots of a handoff message (TA-11), and its lineage.

    The history is not copied into the packet. `history_of` names the tickets whose whole ledger goes with it, oldest
    first, and the agent gets every line of them.
    """

    task_id: str
    source: str = ""
    urgency: str = "normal"
    impact_summary: Text = ""
    hypotheses: list[Text] = Field(default_factory=list, max_length=50)
    evidence_snippets: list[Text] = Field(default_factory=list, max_length=100)
    next_questions: list[Text] = Field(default_factory=list, max_length=50)
    human_approval_needed: bool = False
    lineage: list[str] = Field(default_factory=list, max_length=101, description="numbers, the first ticket first")
    history_of: list[str] = Field(default_factory=list, max_length=101, description="ids whose ledger goes along")
    from_agent: str = ""
    state: dict[str, Any] = Field(default_factory=dict, description="what the asking agent knows in structured form")


class FollowUp(_Strict):
    """What is still to be done after a ticket is resolved: a ticket of its own, linked to it, that nobody waits for.

    Of type `watch` it looks after something for a while, of type `promise` somebody was told that a person comes back
    to them; any other name is taken as a type of the team's. Names `needs` (capabilities) or `to` (an agent).
    """

    type: Name = "watch"
    title: Short = ""
    question: Text = ""
    needs: list[Capability] = Field(default_factory=list, max_length=20)
    to: AgentName | None = None
    after_s: float = Field(default=0.0, ge=0, le=YEAR_S, description="seconds before it begins")
    within_s: float | None = Field(
        default=None, gt=0, le=YEAR_S, description="seconds from then on in which it is due; empty = the priority's"
    )
    looks: int | None = Field(default=None, ge=1, le=50, description="how often it may look before somebody decides")
    ref: str = Field(default="", max_length=2000, description="what it is about: a deployment, a merge, an address")


class Resolved(_Strict):
    """The ticket is done. `decision` answers an approval; `requires_escalation` asks for a decision-maker first."""

    kind: Literal["resolved"] = "resolved"
    reply: Text = ""
    summary: Text = ""
    evidence: list[Text] = Field(default_factory=list, max_length=100)
    requires_escalation: bool = False
    reason: Text = ""
    decision: Literal["approve", "deny"] | None = None
    follow_ups: list[FollowUp] = Field(default_factory=list, max_length=5)


class StepDone(_Strict):
    """One step of a pipeline is done; the ticket goes on to the next capability with this result under `steps`."""

    kind: Literal["step_done"] = "step_done"
    name: Name
    result: dict[str, Any] = Field(default_factory=dict)
    confidence: float | None = Field(default=None, ge=0, le=1)
    needs: list[Capability] = Field(
        default_factory=list, max_length=20, description="next capabilities; empty = the team's"
    )


class Finding(_Strict):
    """What one check of a review found, and where it looked."""

    check: Name
    passed: bool
    evidence: list[Short] = Field(default_factory=list, max_length=20)


class Reviewed(_Strict):
    """A checker's verdict on a submitted reply: it passed, or `failed_checks` names what must be revised."""

    kind: Literal["reviewed"] = "reviewed"
    passed: bool
    failed_checks: list[Name] = Field(default_factory=list, max_length=20)
    notes: Text = ""
    findings: list[Finding] = Field(default_factory=list, max_length=20, description="each check with its evidence")


class Part(_Strict):
    """One thing somebody else is asked for. Names `needs` (capabilities) or `to` (an agent)."""

    needs: list[Capability] = Field(default_factory=list, max_length=20)
    to: AgentName | None = None
    title: Short = ""
    question: Text = ""
    type: Name = "handoff"
    packet: Packet | None = None


class HandOff(Part):
    """Somebody else does a part; the result comes back here. Or several do: then each of `parts` says who and what,
    and the ticket goes on when all of them are closed. Title, question and packet stand for parts that have none.
    """

    kind: Literal["hand_off"] = "hand_off"
    why: Text = Field(default="", description="why these, in a sentence: stands in the story and in `why`")
    parts: list[Part] = Field(default_factory=list, max_length=8)


class AskHuman(_Strict):
    """An action needs a yes first. The action is stored with its hash; only this action is then allowed, once."""

    kind: Literal["ask_human"] = "ask_human"
    action: Name
    arguments: dict[str, Any] = Field(default_factory=dict)
    why: Text = ""
    to: AgentName | None = Field(default=None, description="approver; empty = the gate's, else who can `approval`")


class AskRequester(_Strict):
    kind: Literal["ask_requester"] = "ask_requester"
    question: Text


class Blocked(_Strict):
    """Somebody else must act first. An `owner` that is the number or id of a ticket: it goes on when that closes."""

    kind: Literal["blocked"] = "blocked"
    owner: Name
    action: Text
    until: float | None = Field(default=None, description="unix seconds; empty = one day")


class Later(_Strict):
    kind: Literal["later"] = "later"
    at: float = Field(description="unix seconds, UTC")
    why: Text = ""


class Failed(_Strict):
    """`retryable`: somebody may try again; otherwise the ticket is closed as failed with `error` as the reason."""

    kind: Literal["failed"] = "failed"
    error: Text
    retryable: bool = False


Report = Annotated[
    Resolved | StepDone | Reviewed | HandOff | AskHuman | AskRequester | Blocked | Later | Failed,
    Field(discriminator="kind"),
]
REPORT: TypeAdapter[Report] = TypeAdapter(Report)
