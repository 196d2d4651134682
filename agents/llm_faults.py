"""What can be wrong with a model's server, sorted by what helps: wait, try again, ask another model, or give up.

quota.Busy     429, or 503 with Retry-After: the agent is busy until then, and the ticket goes back uncounted
Broken         time-outs, 5xx, broken connections, answers that are none: the same again may work
Refused        the key, the model's name, the whole request, or the content: only another model may take it
TooLong        the answer, or the prompt for this model's context
NoTools        the server takes none: the model can be told of them in words
NoTime         the ticket's own deadline
Useless        it answered twice, and never with a report that can be used
"""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx2
import openai

from .prompt_text import harmless
from .quota import LONGEST_S, Busy

__all__ = [
    "Broken",
    "ModelFault",
    "NoTime",
    "NoTools",
    "Refused",
    "TooLong",
    "Useless",
    "fault_of",
    "retry_after_s",
    "without",
]

UNSAID_S = 30.0  # for a 429 that does not say when to come back
SHOWN = 300


class ModelFault(Exception):
    """A model gave no report. `outcome` is the word for it in the meter."""

    outcome = "error"

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Broken(ModelFault):
    pass


class Refused(ModelFault):
    def __init__(self, message: str) -> None:
        super().__init__("refused", message)


class NoTools(ModelFault):
    def __init__(self) -> None:
        super().__init__("refused", "the model's server knows no tools")


class TooLong(ModelFault):
    def __init__(self, message: str) -> None:
        super().__init__("truncated", message)


class NoTime(ModelFault):
    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)


class Useless(ModelFault):
    def __init__(self, message: str) -> None:
        super().__init__("invalid", message)


def fault_of(error: Exception, key: str) -> Exception:
    """The fault, or Busy, that an error of the SDK means. No text of it holds the key."""
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return Broken("timeout", "the model did not answer in time")
    if not isinstance(error, openai.APIStatusError):
        return Broken("error", f"no answer from the model's server ({type(error).__name__})")
    status, said = error.status_code, harmless(without(key, str(error.message))[:SHOWN])
    after_s = retry_after_s(error.response.headers)
    if status == 429 or (status == 503 and after_s is not None):
        return Busy(UNSAID_S if after_s is None else after_s, f"the model's server answers {status}: {said}")
    if status in (408, 409, 425) or status >= 500:
        return Broken("error", f"the model's server answers {status}: {said}")
    if status in (401, 403):
        return Refused(f"the model's server refuses the key ({status}): see SHIFTLEAD_OPENAI_API_KEY")
    if "context" in said.lower() and ("length" in said.lower() or "size" in said.lower()):
        return TooLong(f"the prompt is too long for the model: see SHIFTLEAD_OPENAI_CONTEXT_TOKENS ({said})")
    return Refused(f"the model's server answers {status}: {said}")


def retry_after_s(headers: httpx2.Headers) -> float | None:
    """The seconds, or the date, of Retry-After; None where there is none that can be read."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if seconds == seconds and seconds >= 0:
            return min(seconds, LONGEST_S)
    try:
        at = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError, TypeError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(0.0, at.timestamp() - time.time()), LONGEST_S)


def without(key: str, text: str) -> str:
    """The text without the key, which a server may repeat."""
    return text.replace(key, "***") if len(key) >= 6 else text
