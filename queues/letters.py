"""What somebody wrote himself, in a message that also quotes, forwards and signs. Line by line, one pass each.

Only the first 20,000 characters are looked at; what follows them stays as it is.
Where it is not certain that a line was not written now, it stays: two messages that differ must never look equal.
"""

from __future__ import annotations

import re

__all__ = ["written"]

MOST_LOOKED_AT = 20_000
# (how the line above a quote begins, a word it has): "On Tue, 3 Nov 2026, Ada Berg <ada@example.com> wrote:"
INTRODUCES = (
    ("on ", "wrote"), ("am ", "schrieb"), ("le ", "écrit"), ("el ", "escribió"), ("il ", "scritto"),
    ("em ", "escreveu"), ("op ", "schreef"), ("den ", "skrev"), ("w dniu ", "napisał"),
)  # fmt: skip
BEGINS = tuple(begin for begin, _ in INTRODUCES)
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
KNOWN = frozenset({*WHO, *WHEN, *OTHERS})
LONGEST_HEAD = 12  # lines
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
    text, rest = _looked_at(text)
    kept: list[str] = []
    lines = text.splitlines()
    names = [_header(line) for line in lines]
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
        elif taken := _headers(lines, names, at):
            if any(kept):
                break  # what follows the headers of another message is that message
            at += taken  # nothing before it: a message passed on, and its text is what is meant
        else:
            kept.append(line)
            at += 1
    # in the middle of a long message nothing is a signature
    return "\n".join([*kept, rest] if rest else _unsigned(kept))


def _looked_at(text: str) -> tuple[str, str]:
    """The part that is looked at, whole lines if it has any, and the rest."""
    if len(text) <= MOST_LOOKED_AT:
        return text, ""
    end = text.rfind("\n", 0, MOST_LOOKED_AT) + 1 or MOST_LOOKED_AT
    return text[:end], text[end:]


def _introduction(lines: list[str], at: int) -> int:
    """How many lines from `at` on only say that a quote follows; programs break a long one in two."""
    if not f"{lines[at][:LONGEST_INTRODUCTION].strip().casefold()} ".startswith(BEGINS):
        return 0
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


def _header(line: str) -> str:
    """The name in a line of a letter's head; "" where it is none."""
    name, colon, _ = line.strip()[:200].strip("*").partition(":")
    known = name.strip("* ").casefold() if colon else ""
    return known if known in KNOWN else ""


def _headers(lines: list[str], known: list[str], at: int) -> int:
    """How many lines from `at` on are the head of another message: a separator, or who, when, and to whom."""
    separated = 0 if known[at] else int(SEPARATES.fullmatch(lines[at].strip()[:200].casefold()) is not None)
    if not known[at] and not separated:
        return 0
    names: list[str] = []
    end = at + separated
    while end < len(lines) and end < at + LONGEST_HEAD:
        if known[end]:
            names.append(known[end])
        elif lines[end].strip() or names or not separated:
            break
        end += 1
    headed = len(names) >= 3 and any(n in WHO for n in names) and any(n in WHEN for n in names)
    # Without a separator only addresses tell a letter's head from a journey: From: Berlin, To: Rome, Date: 3 May.
    certain = bool(separated) or (headed and any("@" in line for line in lines[at:end]))
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
