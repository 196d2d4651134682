"""What somebody wrote himself, in a message that also quotes, forwards and signs. Line by line, one pass each.

Where it is not certain that a line was not written now, it stays: two messages that differ must never look equal.
"""

from __future__ import annotations

import re

__all__ = ["written"]

# (how the line above a quote begins, a word it has): "On Tue, 3 Nov 2026, Ada Berg <ada@example.com> wrote:"
INTRODUCES = (
    ("on ", "wrote"), ("am ", "schrieb"), ("le ", "écrit"), ("el ", "escribió"), ("il ", "scritto"),
    ("em ", "escreveu"), ("op ", "schreef"), ("den ", "skrev"), ("w dniu ", "napisał"),
)  # fmt: skip
LONGEST_INTRODUCTION = 300
SEPARATES = re.compile(
    r"[-_=*\s]{2,20}(?:original message|original appointment|forwarded message|forwarded by|ursprüngliche nachricht"
    r"|weitergeleitete nachricht|message d'origine|message original|message transféré|mensaje original"
    r"|mensaje reenviado|messaggio originale|messaggio inoltrato|mensagem original|mensagem encaminhada"
    r"|oorspronkelijk bericht|doorgestuurd bericht|ursprungligt meddelande)[-_=*\s:]{0,20}"
    r"|begin forwarded message:|anfang der weitergeleiteten nachricht:|début du message réexpédié\s?:"
)
WHO = ("from", "von", "de", "da", "van", "från", "fra", "od")
WHEN = ("sent", "date", "gesendet", "datum", "envoyé", "date", "enviado", "enviado el", "fecha", "inviato", "data",
        "verzonden", "skickat", "dato", "wysłano")  # fmt: skip
OTHERS = ("to", "an", "à", "para", "a", "aan", "till", "til", "do", "cc", "kopie", "subject", "betreff", "objet",
          "asunto", "oggetto", "assunto", "onderwerp", "ämne", "emne", "temat", "reply-to", "antwort an")  # fmt: skip
DEVICES = (
    "sent from my ", "sent from outlook", "sent from mail for", "get outlook for", "sent with proton",
    "von meinem iphone gesendet", "von meinem ipad gesendet", "gesendet von meinem ", "gesendet von mail",
    "diese nachricht wurde von meinem ", "envoyé de mon ", "envoyé depuis mon ", "enviado desde mi ",
    "inviato da iphone", "inviato dal mio ", "enviado do meu ", "verstuurd vanaf mijn ", "verzonden vanaf mijn ",
    "skickat från min ", "sendt fra min ", "wysłane z ",
)  # fmt: skip
LONGEST_DEVICE = 120
SIGNATURE_LINES = 8


def written(text: str) -> str:
    """`text` without quoted lines, reply headers, forwarding separators and signatures."""
    kept: list[str] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        if not line:
            kept.append(line)
            at += 1
        elif line.startswith(">"):
            at += 1
        elif taken := _introduction(lines, at):
            at += taken
        elif taken := _headers(lines, at):
            if any(kept):
                break  # what follows the headers of another message is that message
            at += taken  # nothing before it: a message passed on, and its text is what is meant
        else:
            kept.append(line)
            at += 1
    return "\n".join(_unsigned(kept))


def _introduction(lines: list[str], at: int) -> int:
    """How many lines from `at` on only say that a quote follows; programs break a long one in two."""
    for taken in (1, 2):
        line = " ".join(part.strip() for part in lines[at : at + taken])
        if len(line) > LONGEST_INTRODUCTION:
            return 0
        plain = line.casefold()
        if (
            plain.endswith(":")
            and any(plain.startswith(begin) and verb in plain for begin, verb in INTRODUCES)
            and any(c.isdigit() for c in plain)
            and _quote_follows(lines, at + taken)
        ):
            return taken
    return 0


def _quote_follows(lines: list[str], at: int) -> bool:
    following = next((line.strip() for line in lines[at : at + 4] if line.strip()), "")
    return following.startswith(">")


def _headers(lines: list[str], at: int) -> int:
    """How many lines from `at` on are the head of another message: a separator, or who, when, and to whom."""
    first = lines[at].strip()[:200].casefold()
    separated = 1 if SEPARATES.fullmatch(first) else 0
    names: list[str] = []
    end = at + separated
    while end < len(lines) and end < at + 12:
        name = lines[end].strip()[:200].strip("*").partition(":")
        known = name[0].strip("* ").casefold()
        if not name[1] or known not in {*WHO, *WHEN, *OTHERS}:
            if lines[end].strip() or names or not separated:
                break
        else:
            names.append(known)
        end += 1
    # Without a separator only addresses tell a letter's head from a journey: From: Berlin, To: Rome, Date: 3 May.
    certain = bool(separated) or any("@" in line for line in lines[at:end])
    headed = any(n in WHO for n in names) and any(n in WHEN for n in names) and len(names) >= 3
    return end - at if headed and certain else separated


def _unsigned(lines: list[str]) -> list[str]:
    """Without the signature: a few lines below "--", or the word of a device at the very end.

    A signature is shorter than what it signs; anything else below a line of dashes is part of the message.
    """
    lines = _without_device(lines)
    for at in range(len(lines) - 1, max(-1, len(lines) - SIGNATURE_LINES - 2), -1):
        if lines[at] in ("--", "—"):
            above, below = (sum(map(len, part)) for part in (lines[:at], lines[at + 1 :]))
            return _without_device(lines[:at]) if below < above else lines
    return lines


def _without_device(lines: list[str]) -> list[str]:
    end = len(lines)
    while end and not lines[end - 1]:
        end -= 1
    if end and len(lines[end - 1]) <= LONGEST_DEVICE and lines[end - 1].casefold().startswith(DEVICES):
        end -= 1
    return lines[:end]
