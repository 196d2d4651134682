"""Send one message to one address through Apprise, and make text of others harmless on its way.

What a ticket says is data: nothing a terminal, a chat or a mail program would obey. What Apprise and the library it
posts with would log may name a whole address, so it is kept as the reason of a failure instead, for the caller to mask.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata

from .addresses import for_apprise

__all__ = ["by_apprise", "harmless", "one_line"]

REASON = 300  # characters of what is kept of one line of theirs
MENTION = re.compile(r"(?<!\w)@(?=\w)")
_sending = threading.local()


def one_line(text: str, length: int) -> str:
    """At most `length` characters of the text, in one line, without control characters and direction marks."""
    # Cut first: a text may be long. Cc line breaks and terminals, Cf direction and invisible, Cs not text at all,
    # Zl and Zp line breaks of Unicode.
    kept = []
    for char in text[: 4 * length]:
        kind = unicodedata.category(char)
        kept.append(" " if kind in ("Cc", "Zl", "Zp") else "" if kind in ("Cf", "Cs") else char)
    line = " ".join("".join(kept).split())
    whole = len(line) <= length and len(text) <= 4 * length
    return line if whole else line[: length - 1].rstrip() + "…"


def by_apprise(address: str, subject: str, body: str) -> str:
    """Send one message; "" or why it was not taken. Blocks as long as the network does.

    Only one service is made of the address (Apprise would read several out of a list), with nothing stored on disk, no
    redirects, and without Apprise's pool of threads: those would be waited for when the process ends.
    """
    import apprise  # slow to load: not before there is something to send

    _keep_quiet()
    _sending.said = []
    try:
        asset = apprise.AppriseAsset(
            app_id="Shiftlead", app_desc="Shiftlead", async_mode=False, service_timeout=0, storage_mode="memory",
            http_redirects=False, pgp_autogen=False, pem_autogen=False, interpret_emojis=False, allow_templates=False,
        )  # fmt: skip
        service = apprise.Apprise.instantiate(for_apprise(address), asset=asset)
        if service is None:
            return "; ".join(_sending.said) or "Apprise cannot use the address"
        service.overflow_mode = apprise.OverflowMode.TRUNCATE  # one message, however short the service wants it
        letterbox = apprise.Apprise(asset=asset)
        letterbox.add(service)
        done = letterbox.notify(
            body=body, title=subject, body_format=apprise.NotifyFormat.TEXT, notify_type=apprise.NotifyType.WARNING
        )
        return "" if done else "; ".join(_sending.said) or "it was not taken"
    finally:
        _sending.said = None


class _Quiet(logging.Filter):
    """Keeps what is logged while we send out of the log, and keeps the warnings as the reason of a failure."""

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(_sending, "said", None)
        if said is None:
            return True
        if record.levelno >= logging.WARNING and len(said) < 5:
            said.append(one_line(record.getMessage(), REASON))
        return False


_quiet = _Quiet()


def _keep_quiet() -> None:
    for name in ("apprise", "urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_quiet)  # adding it again changes nothing


def harmless(text: str, length: int) -> str:
    """What a chat would read as markup or as a call to everybody is only text."""
    return one_line(MENTION.sub("@ ", text.replace("<", "‹").replace(">", "›")), length)
