"""The HTTP door from the outside: with SHIFTLEAD_URL and SHIFTLEAD_KEY the command line speaks to another machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2

from shiftlead.config.settings import Settings
from shiftlead.queues.agent_state import AgentState
from shiftlead.queues.desk import Accepted
from shiftlead.queues.errors import BadInput, NotFound, Refused, ShiftleadError, Unavailable
from shiftlead.queues.ticket import Draft, Line, Ticket

__all__ = ["HttpDoor"]

TIMEOUT_S = 30.0
PAGE = 200
MOST_BYTES = 4_000_000  # of one batch; the door's own limit is higher


class HttpDoor:
    """A Door and a View over HTTP. One connection, closed at the end of the with block."""

    def __init__(self, settings: Settings) -> None:
        if not settings.key:
            raise BadInput(
                "SHIFTLEAD_URL is set, SHIFTLEAD_KEY is not. Set it to a key of that Shiftlead.", field="key"
            )
        self.url = settings.url.rstrip("/")
        # An explicit team only: the key knows its own.
        self._query = {"team": settings.team} if "team" in settings.model_fields_set else {}
        headers = {"Authorization": f"Bearer {settings.key}"}
        self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)

    def __enter__(self) -> HttpDoor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    # -- acting -------------------------------------------------------------------------------------------------

    def accept_many(self, drafts: Sequence[tuple[Draft, str | None]]) -> list[Accepted | ShiftleadError]:
        """Drafts with a key go one by one, each with its own; the others in batches."""
        answers: list[Accepted | ShiftleadError | None] = [None] * len(drafts)
        for i, (draft, key) in enumerate(drafts):
            if key is not None or len(drafts) == 1:
                answers[i] = self._accept(draft, key)
        without = [i for i, answer in enumerate(answers) if answer is None]
        for part in _parts(without, [_body(drafts[i][0]) for i in without]):
            lines = "\n".join(text for _, text in part)
            try:
                said = self._post("/v1/tickets/batch", content=lines, kind="application/x-ndjson")
            except ShiftleadError as error:
                for i, _ in part:
                    answers[i] = error
                continue
            for (i, _), result in zip(part, said["results"], strict=True):
                answers[i] = self._taken(drafts[i][0], result)
        return [a if a is not None else Unavailable("The ticket was not sent. Retry.") for a in answers]

    def answer(self, ticket: str, decision: str, reason: str) -> Ticket:
        return self._act(ticket, decision, {"reason": reason})

    def cancel(self, ticket: str, reason: str) -> Ticket:
        return self._act(ticket, "cancel", {"reason": reason})

    def note(self, ticket: str, text: str, signals: dict[str, float | str]) -> Ticket:
        return self._act(ticket, "note", {"text": text} | ({"signals": signals} if signals else {}))

    def reply(self, ticket: str, text: str) -> Ticket:
        return self._act(ticket, "reply", {"text": text})

    def reopen(self, ticket: str, reason: str) -> Ticket:
        return self._act(ticket, "reopen", {"reason": reason})

    def inbox(self, who: str | None) -> list[dict[str, Any]]:
        return list(self._get("/v1/inbox", {"for": who} if who else None))

    def delegate(self, ticket: str, to: str, reason: str) -> Ticket:
        return self._act(ticket, "delegate", {"to": to, "reason": reason})

    def edit(self, ticket: str, changes: dict[str, Any], reason: str) -> Ticket:
        path = f"/v1/tickets/{quote(ticket, safe='')}"
        said = self._send("PATCH", path, content=json.dumps({"changes": changes, "reason": reason}))
        return Ticket.model_validate(said.json())

    def reassign(self, ticket: str, to: str | None, needs: list[str], reason: str) -> Ticket:
        return self._act(ticket, "reassign", {"to": to, "needs": needs, "reason": reason})

    def snooze(self, ticket: str, until: float, reason: str) -> Ticket:
        return self._act(ticket, "snooze", {"until": until, "reason": reason})

    def merge(self, ticket: str, into: str, reason: str) -> Ticket:
        return self._act(ticket, "merge", {"into": into, "reason": reason})

    def hold(self, agent: str, reason: str, values: dict[str, Any]) -> AgentState:
        return self._agent(agent, "hold", values | {"reason": reason})

    def event(self, agent: str, name: str, ref: str) -> AgentState:
        return self._agent(agent, "event", {"name": name, "ref": ref})

    def outcome(self, ticket: str, feedback: dict[str, Any]) -> dict[str, Any]:
        return dict(self._post(f"/v1/tickets/{quote(ticket, safe='')}/outcome", content=json.dumps(feedback)))

    # -- reading ------------------------------------------------------------------------------------------------

    def find(self, id_or_number: str) -> Ticket:
        return Ticket.model_validate(self._get(f"/v1/tickets/{quote(id_or_number, safe='')}"))

    def history(self, ticket_id: str) -> list[Line]:
        return [Line.model_validate(line) for line in self._get(f"/v1/tickets/{quote(ticket_id, safe='')}/history")]

    def tickets(
        self, *, queue: str | None = None, state: str | None = None, agent: str | None = None, limit: int = 50
    ) -> list[Ticket]:
        wanted = {k: v for k, v in (("queue", queue), ("state", state), ("agent", agent)) if v is not None}
        found: list[Ticket] = []
        after = ""
        while len(found) < limit:
            page = wanted | {"limit": str(min(PAGE, limit - len(found)))} | ({"after": after} if after else {})
            answer = self._get("/v1/tickets", page)
            found += [Ticket.model_validate(t) for t in answer["tickets"]]
            after = answer.get("after") or ""
            if not after:
                break
        return found

    def counts(self) -> dict[str, int]:
        """The door does not count for us; an empty answer is not shown."""
        return {}

    def why(self, name: str) -> tuple[str, list[str]]:
        """The lines of `shiftlead why`, where the other side offers them."""
        try:
            said = self._get(f"/v1/tickets/{quote(name, safe='')}/why")
        except NotFound as error:
            if "no such address" not in str(error):
                raise
            raise Refused(
                f"{self.url} does not offer `why`. Run it on that machine, or see: shiftlead show {name}"
            ) from None
        reasons = [f"because  {r}" for r in said.get("reasons", [])]
        moves = [f"moves    {m}" for m in said.get("moves_it", [])]
        number = str(said.get("number", name))
        return number, said.get("lines") or [f"{number} is {said.get('state', '')}", *reasons, *moves]

    # -- the wire -----------------------------------------------------------------------------------------------

    def _accept(self, draft: Draft, key: str | None) -> Accepted | ShiftleadError:
        headers = {"Idempotency-Key": key} if key else {}
        try:
            response = self._send("POST", "/v1/tickets", content=_body(draft), headers=headers)
        except ShiftleadError as error:
            return error
        said, joined = response.json(), "Shiftlead-Joined" in response.headers
        return Accepted(Ticket.model_validate(said), response.status_code == 201, joined=joined)

    def _taken(self, draft: Draft, result: dict[str, Any]) -> Accepted | ShiftleadError:
        if "problem" in result:
            return _refusal(int(result["status"]), result["problem"])
        ticket = Ticket(
            id=result["id"], number=result["number"], team=result["team"], type=draft.type, title=draft.title
        )
        return Accepted(ticket, int(result["status"]) == 201, joined=bool(result.get("joined")))

    def _act(self, ticket: str, verb: str, body: dict[str, Any]) -> Ticket:
        return Ticket.model_validate(
            self._post(f"/v1/tickets/{quote(ticket, safe='')}/{verb}", content=json.dumps(body))
        )

    def _agent(self, agent: str, verb: str, body: dict[str, Any]) -> AgentState:
        return AgentState.model_validate(
            self._post(f"/v1/agents/{quote(agent, safe='')}/{verb}", content=json.dumps(body))
        )

    def _get(self, path: str, query: dict[str, str] | None = None) -> Any:
        return self._send("GET", path, query=query).json()

    def _post(self, path: str, *, content: str, kind: str = "application/json") -> Any:
        return self._send("POST", path, content=content, headers={"Content-Type": kind}).json()

    def _send(
        self, method: str, path: str, *, content: str | None = None, headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> httpx2.Response:  # fmt: skip
        typed = {"Content-Type": "application/json"} | (headers or {}) if content is not None else headers
        raw = content.encode() if content is not None else None
        try:
            response = self._client.request(
                method, path, content=raw, headers=typed, params=self._query | (query or {})
            )
        except httpx2.TransportError as error:
            raise Unavailable(
                f"{self.url} does not answer ({type(error).__name__}). Retry: with the same --key nothing is stored "
                "twice."
            ) from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, ValueError) as error:
            raise BadInput(f"SHIFTLEAD_URL: {error}.", field="url") from None
        if response.status_code < 400:
            return response
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        raise _refusal(response.status_code, problem if isinstance(problem, dict) else {})

    # -- numbers ------------------------------------------------------------------------------------------------

    def stats(self, since: str) -> dict[str, Any]:
        return dict(self._get("/v1/stats", {"since": since}))

    def brief(self, who: str, since: str) -> dict[str, Any]:
        return dict(self._get("/v1/brief", {"who": who, "since": since}))

    def record(self, agent: str, since: str) -> dict[str, Any]:
        return dict(self._get(f"/v1/agents/{quote(agent, safe='')}/record", {"since": since}))

    def cost(self, by: str, since: str, limit: str) -> dict[str, Any]:
        return dict(self._get("/v1/cost", {"by": by, "since": since, "limit": limit}))

    def outcomes(self, by: str, since: str) -> dict[str, Any]:
        return dict(self._get("/v1/outcomes", {"by": by, "since": since}))

    def ticket_cost(self, ticket: str) -> dict[str, Any]:
        return dict(self._get(f"/v1/tickets/{quote(ticket, safe='')}/cost"))

    # -- housekeeping -------------------------------------------------------------------------------------------

    def erase(self, ticket: str, reason: str, *, family: bool, vacuum: bool | None) -> dict[str, Any]:
        body = json.dumps({"reason": reason, "family": family, "vacuum": vacuum})
        return dict(self._post(f"/v1/tickets/{quote(ticket, safe='')}/erase", content=body))

    def refusals(self, days: int) -> list[dict[str, Any]]:
        return list(self._get("/v1/refusals", {"days": str(days)})["refusals"])


def _refusal(status: int, problem: dict[str, Any]) -> ShiftleadError:
    """The error a problem document stands for, with its exit code."""
    detail = str(problem.get("detail") or f"The other side answered {status}.")
    if status in (429, 502, 503, 504):
        return Unavailable(detail)
    if status == 404:
        return NotFound(detail)
    if status in (401, 403, 409) or str(problem.get("type", "")).endswith(":key-reused"):
        return Refused(detail)
    if status in (400, 413, 422):
        return BadInput(detail, field=str(problem.get("field") or ""))
    return ShiftleadError(detail)


def _body(draft: Draft) -> str:
    return draft.model_dump_json(exclude_defaults=True)


def _parts(indices: Sequence[int], texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Batches that are not too large."""
    part: list[tuple[int, str]] = []
    size = 0
    for index, text in zip(indices, texts, strict=True):
        if part and size + len(text) > MOST_BYTES:
            yield part
            part, size = [], 0
        part.append((index, text))
        size += len(text)
    if part:
        yield part
