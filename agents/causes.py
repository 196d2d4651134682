"""What a defect report points at: one row for each suspicion, with what to check first.

The same table gives support its first hypotheses for the packet and engineering its ranked list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Cause", "causes"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A suspicion: what it is, what to check first, in words for an engineer and for a customer."""

    name: str
    hypothesis: str
    check: str
    plain: str
    seen: tuple[str, ...] = ()


def causes(text: str) -> list[Cause]:
    """Suspicions for a defect, the likeliest first; each with the words of the text that point at it."""
    found = []
    for pattern, weight, cause in TABLE:
        seen = tuple(dict.fromkeys(m.group(0).strip() for m in re.finditer(pattern, text, re.I)))
        if seen:
            rank = weight + min(len(seen) - 1, 2)
            found.append((-rank, cause.name, Cause(cause.name, cause.hypothesis, cause.check, cause.plain, seen[:3])))
    return [cause for *_, cause in sorted(found, key=lambda f: f[:2])]


TABLE: tuple[tuple[str, int, Cause], ...] = (
    (
        r"NullPointerException|\bNPE\b|\bis null\b|\bnull (?:pointer|value|reference)|returns? null|NoneType",
        3,
        Cause(
            "missing value",
            "a value is missing (null) on a path that takes it for granted",
            "follow the value in the first stack frame of ours back to where it may stay empty",
            "a value our software expected was missing",
        ),
    ),
    (
        r"ClassNotFound\w*|NoClassDefFound\w*|NoSuchMethod\w*|ModuleNotFound\w*|ImportError|transitive dependenc\w+|"
        r"shaded|incompatib\w+|breaks compatib\w+",
        3,
        Cause(
            "dependency",
            "a dependency is missing or has another version than the code was built against",
            "compare the dependency tree of the last good build with this one",
            "two parts of our software do not fit together in this version",
        ),
    ),
    (
        r"timed?[- ]?out|TimeoutException|took too long|\bhangs?\b|keeps (?:spinning|loading)|\b504\b|"
        r"idle_timeout",
        2,
        Cause(
            "time-out",
            "a call takes longer than its limit: a slow or unreachable service, or a limit that is too short",
            "measure the call's duration at the failing time and compare it with the configured limit",
            "a service behind our app answered too slowly",
        ),
    ),
    (
        r"Connection(?:Closed|Refused|Reset)\w*|connection (?:refused|reset|closed|interrupted)|"
        r"UnknownHost\w*|SocketException|EOFException|\b502\b|\b503\b",
        2,
        Cause(
            "connection",
            "a connection is refused or ends early: peer, proxy or network",
            "look at the peer's log for the same second; try the connection by hand",
            "a connection inside our systems broke off",
        ),
    ),
    (
        r"permission denied|AccessControl\w*|AccessDenied\w*|\b40[13]\b|unauthori[sz]ed|forbidden|"
        r"credentials?|\bSASL\b|delegation token|\btoken\b",
        2,
        Cause(
            "permission",
            "the caller lacks a right, or its credentials are wrong or expired",
            "repeat the call with the same identity and read the refusal on the server side",
            "a permission was set wrongly on our side",
        ),
    ),
    (
        r"race condition|thread[- ]safe\w*|deadlock|(?<!\.)\bconcurren\w+|in parallel|fails? randomly|"
        r"intermittent\w*|flaky|transient|sometimes",
        2,
        Cause(
            "timing",
            "two things happen at once in an order the code does not expect",
            "run the failing case 100 times under load and note how often it fails",
            "two steps got in each other's way",
        ),
    ),
    (
        r"OutOfMemory\w*|memory leak|\bleak(?:s|ing|ed)?\b|unclosed|too many open files|disk full|"
        r"No space left",
        2,
        Cause(
            "resource",
            "a resource is not given back or runs out",
            "watch handles and memory over repeated runs",
            "our software ran short of a resource",
        ),
    ),
    (
        r"FileNotFound\w*|No such file|does not exist|already exists|File exists|"
        r"\bpaths?\b.{0,30}\b(?:wrong|root|suffix)",
        2,
        Cause(
            "file or path",
            "a file or path is not where the code expects it, or is there when it must not be",
            "log the resolved path just before the failing call",
            "something was not where our software looked for it",
        ),
    ),
    (
        r"\bconfig\w*|core-default|\bsettings?\b|\bdefault (?:value|password|timeout)|"
        r"environment variable|yarn-env",
        1,
        Cause(
            "configuration",
            "a setting or its default differs from what the code expects",
            "compare the effective configuration of a good and the bad machine",
            "a setting was not right",
        ),
    ),
    (
        r"IllegalArgument\w*|\b\w{0,80}ParseException|NumberFormat\w*|UnsupportedEncoding\w*|encoding|"
        r"invalid (?:json|input|character)|string mismatch|Expected to find",
        2,
        Cause(
            "input",
            "an input has a form the code does not accept, or its text has changed",
            "feed the exact input of the report to the parser in a unit test",
            "an entry was in a form our software did not understand",
        ),
    ),
    (
        r"since (?:the |yesterday'?s? |last )?(?:\w+ )?(?:update|upgrade|release)|after (?:the |an? |i |"
        r"we )?(?:\w+ ){0,2}(?:update|upgrade|release|updating|upgrading)|regression|JDK[- ]?\d+|"
        r"(?:version|v)\s?\d+\.\d+",
        1,
        Cause(
            "recent change",
            "a recent update or a new version changed the behaviour",
            "compare the last good version with this one, bisect if it is not obvious",
            "a recent update changed something it should not have",
        ),
    ),
    (
        r"\b500\b|internal server error|crash\w*|\b\w{1,80}(?:Exception|Error)\b|stack ?trace|"
        r"core dumped",
        1,
        Cause(
            "unhandled error",
            "an error is not handled where it happens and ends the operation",
            "find the first error in the log before the one reported",
            "our software met an error and stopped",
        ),
    ),
)
