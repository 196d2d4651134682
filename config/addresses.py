"""Addresses of people: which are ways to tell somebody over the network, and what of one may be shown.

An address is written as Apprise reads it (mailto://name@host, slack://..., jsons://host/path); https:// and http://
mean that a JSON document is posted there. Only the schemes below are used: Apprise also knows some that run a program,
write a file or show something on this screen, and some that publish to the world. Apprise itself is not needed here.
"""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from .rules import near, words

__all__ = ["SCHEMES", "check_address", "for_apprise", "masked", "shown"]

MAIL = words("mailto mailtos")
WEB = words("http https json jsons xml xmls form forms apprise apprises")  # the host is no secret
CHAT = words(
    "slack discord tgram webex wxteams workflow workflows gchat mmost mmosts rocket rockets zulip matrix matrixs "
    "signal signals threema whatsapp line viber twist flock cliq lark feishu dingtalk wecombot nctalk nctalks "
    "synology synologys"
)
PUSH = words("ntfy ntfys gotify gotifys pover pbul pushy prowl join ifttt hassio hassios")
ON_CALL = words(
    "pagerduty opsgenie splunk victorops squadcast pagertree spike signl4 betterstack incidentio ilert goalert "
    "goalerts xmatters firehydrant jira"
)
SMS = words("twilio vonage nexmo clicksend msgbird plivo sinch bulksms telnyx sns")
MAIL_SERVICES = words("o365 azure sendgrid mailgun postmark resend ses smtp2go sparkpost brevo mailersend")
SCHEMES = frozenset(MAIL | WEB | CHAT | PUSH | ON_CALL | SMS | MAIL_SERVICES)

MASK = "***"
SHORT = 4  # shorter words of an address are no secrets: masking them would make a message unreadable
LONGEST = 2000


def check_address(address: str) -> str:
    """What is wrong with an address for notices, or "". The answer never quotes more of it than the scheme."""
    if len(address) > LONGEST:
        return f"an address has at most {LONGEST:,} characters"
    if any(c.isspace() or not c.isprintable() for c in address):
        return "an address has no spaces and no control characters; write %20 for a space"
    scheme, colon, rest = address.partition("://")
    scheme = scheme.lower()
    if not colon or not scheme.isalnum():
        return "an address begins with how to tell: mailto://name@host or https://host/path"
    if scheme not in SCHEMES:
        hint = near(scheme, sorted(SCHEMES))
        known = f"did you mean {hint}://?" if hint else "use mailto://, https://, slack://, ntfy:// or another of these"
        return f"{scheme[:20]}:// does not tell anybody over the network; {known}"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"the host or the port of this {scheme}:// address cannot be read"
    if scheme in MAIL | WEB and not host:
        return f"this {scheme}:// address names no host"
    if scheme in MAIL and not (parts.username or parts.path.strip("/") or "to=" in parts.query):
        return f"this {scheme}:// address names nobody: {scheme}://name@host"
    if not rest.strip("/"):
        return f"there is nothing behind {scheme}://"
    return ""


def for_apprise(address: str) -> str:
    """The address as Apprise takes it: a web address becomes a JSON post to it, query included."""
    parts = urlsplit(address)
    scheme = {"http": "json", "https": "jsons"}.get(parts.scheme)
    if scheme is None:
        return address
    # Apprise keeps options for itself in the query; with a "-" in front a key goes out as it is.
    query = urlencode([(f"-{key}", value) for key, value in parse_qsl(parts.query, keep_blank_values=True)])
    return urlunsplit((scheme, parts.netloc, parts.path, query, ""))


def shown(address: str) -> str:
    """What of an address may stand in a log: never a password, a token, a path or a query."""
    scheme, _, _ = address.partition("://")
    try:
        parts = urlsplit(address)
        host = _host(parts)
    except ValueError:
        return MASK
    if scheme.lower() in MAIL:
        return f"{scheme}://{parts.username + '@' if parts.username else ''}{host}"
    if scheme.lower() in WEB:
        return f"{scheme}://{host}" + (f"/{MASK}" if parts.path.strip("/") or parts.query else "")
    return f"{scheme}://{MASK}" if check_address(address) == "" else MASK


def masked(text: str, address: str) -> str:
    """The text without the parts of the address that may be secret, however they are quoted in it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return text.replace(address, MASK)
    pieces = [address, parts.password or "", *parts.path.split("/"), *(v for _, v in parse_qsl(parts.query))]
    if parts.scheme not in MAIL:
        pieces.append(parts.username or "")
    if parts.scheme not in MAIL | WEB:
        pieces += [parts.netloc, parts.hostname or ""]
    secrets = {spelt for piece in pieces for spelt in (piece, unquote(piece)) if len(spelt) >= SHORT}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
