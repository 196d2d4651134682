"""The offline brain in place of a model that is not configured. Every report says so where it will be read."""

from __future__ import annotations

from .agent import AskHuman, Failed, HandOff, Later, Report, Resolved, Reviewed, StepDone, Work
from .offline import OfflineBrain

__all__ = ["NOTE", "OfflineInstead"]

NOTE = "no model is configured (SHIFTLEAD_OPENAI_API_KEY or SHIFTLEAD_OPENAI_BASE_URL): the offline brain answered"


class OfflineInstead:
    """An Agent whose team file says `brain: openai` where there is no model to ask."""

    def __init__(self, brain: OfflineBrain) -> None:
        self.brain = brain

    def handle(self, work: Work) -> Report:
        return _noted(self.brain.handle(work))


def _noted(report: Report) -> Report:
    """The report with the note: in its summary, or where a report of its kind says why."""
    match report:
        case Resolved():
            return report.model_copy(update={"summary": _with(report.summary)})
        case Reviewed():
            return report.model_copy(update={"notes": _with(report.notes)})
        case StepDone():
            return report.model_copy(update={"result": {**report.result, "note": NOTE}})
        case HandOff() if report.packet is not None:
            state = {**report.packet.state, "note": NOTE}
            return report.model_copy(update={"packet": report.packet.model_copy(update={"state": state})})
        case AskHuman() | Later():
            return report.model_copy(update={"why": _with(report.why)})
        case Failed():
            return report.model_copy(update={"error": _with(report.error)})
        case _:
            return report


def _with(text: str) -> str:
    return f"{text} ({NOTE})" if text else NOTE
