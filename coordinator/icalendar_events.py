"""The busy times in an iCalendar, and the calendar itself where it lies at an address.

What it says was written by others, and one line of it can ask for a billion repetitions; a server can send one byte a
second. So `worked_out` and `download` run this file as a process of its own, with limits on time and memory: a strange
calendar or server costs that reading, never the coordinator.

Free are events marked as free (TRANSP, Outlook's own mark), cancelled ones, those the owner declined, and those without
length. The owner is known by mail addresses; when none of them was asked to an event, it counts as declined when
everybody but its organizer declined. All-day events follow the zone asked for (of the agent's hours), else the
calendar's own (X-WR-TIMEZONE), else UTC; floating times the calendar's, else the one asked for, else UTC.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import signal
import socket
import subprocess
import sys
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import httpx2

__all__ = ["CannotRead", "Occurrence", "download", "fetch", "mail_addresses", "occurrences", "worked_out"]

TIMEOUT_S = 10.0
AHEAD_DAYS = 15  # 14 at any time: an unchanged calendar is worked out again after a day
MAX_OCCURRENCES = 2000
MAX_MEMORY = 1 << 30
SUMMARY_LENGTH = 200
NAT64 = ipaddress.ip_network("64:ff9b::/96")
CLOUD = frozenset({"168.63.129.16"})  # a public address that a cloud's machines find their host's services at
MAX_BYTES = 2_000_000
MAX_REDIRECTS = 5
SAYS = "calendar: "  # begins what the process says itself, and not a library in it
UNREADABLE = "it is no iCalendar we can read"
JOINERS = "\u200c\u200d"  # of letters and emoji: the only invisible characters that stay
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


class CannotRead(Exception):
    """A calendar cannot be read; the message says why, without its address."""


class Occurrence(NamedTuple):
    """One event at one time, unix seconds, UTC."""

    start: float
    end: float
    summary: str


def worked_out(
    data: bytes, *, now: float, zone: str = "", owners: Iterable[str] = (), timeout_s: float = TIMEOUT_S
) -> tuple[list[Occurrence], bool]:
    """`occurrences` in a process with limits, and whether there were more than the first 2000, which are kept.

    Raises:
        CannotRead: not an iCalendar, or it took more than `timeout_s` seconds or 1 GiB.
    """
    about = {"now": now, "zone": zone, "owners": sorted(owners), "timeout_s": timeout_s}
    late = f"its repetitions cannot be worked out in {timeout_s:g} s"
    answer = json.loads(_in_a_process(about, data, late=late, crashed=UNREADABLE))
    return [Occurrence(*o) for o in answer["busy"]], answer["cut"]


def download(address: str, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """`fetch` in a process that is ended after `timeout_s` seconds, wherever it stands: name, handshake, head or body.

    Raises:
        CannotRead: as `fetch`.
    """
    host = _host(address)
    about = {"address": address, "timeout_s": timeout_s}
    late = f"{host} did not answer in {timeout_s:g} s"
    return _in_a_process(about, b"", late=late, crashed=f"{host} cannot be reached")


def occurrences(data: bytes, *, now: float, zone: str = "", owners: Iterable[str] = ()) -> list[Occurrence]:
    """The busy times of an iCalendar from a day before `now` (unix seconds) to 15 days after it, in order.

    May take as long as the calendar's author likes: `Meetings` calls it in a process with limits.

    Raises:
        ValueError: not an iCalendar.
    """
    import icalendar
    import recurring_ical_events  # type: ignore[import-untyped]

    calendars = icalendar.Calendar.from_ical(data, multiple=True)
    if not calendars:
        raise ValueError("no VCALENDAR in it")
    found = []
    for calendar in calendars:
        own = _zone(str(calendar.get("X-WR-TIMEZONE", "")))
        if own is None:
            calendar.pop("X-WR-TIMEZONE", None)  # a name nobody knows
        of_agent = _zone(zone) or own or ZoneInfo("UTC")
        calendar.subcomponents = [c for c in calendar.subcomponents if c.name != "VEVENT" or "DTSTART" in c]
        mine = {*owners, *mail_addresses(str(calendar.get("X-WR-CALNAME", "")))}
        begin = datetime.fromtimestamp(now, of_agent) - timedelta(days=1)
        query = recurring_ical_events.of(calendar, skip_bad_series=True)
        for event in query.between(begin, begin + timedelta(days=1 + AHEAD_DAYS)):
            start, end = (_unix(event[name].dt, of_agent) for name in ("DTSTART", "DTEND"))
            if start < end and not _is_free(event, mine):
                found.append(Occurrence(start, end, _summary(event)))
    return sorted(found)


def fetch(address: str, *, transport: httpx2.BaseTransport | None = None, timeout_s: float = TIMEOUT_S) -> bytes:
    """What lies at an https (or webcal) address; plain http only on this machine. Redirects lead only to https.

    The address is trusted, wherever it lies; a redirect away from its host only to an address of the public internet.
    `timeout_s` bounds each wait; a server that sends byte after byte is ended by `download`.

    Raises:
        CannotRead: no such host, no answer in time, an error status, more than 2 MB, or a redirect elsewhere.
    """
    import httpx2  # here: a team without such an address does not need it

    url = re.sub(r"^webcals?://", "https://", address, flags=re.IGNORECASE)
    ends = monotonic() + timeout_s
    try:
        trusted = _origin(url)
    except ValueError:
        raise CannotRead("its address is not one") from None
    if not (trusted[0] == "https" or (trusted[0] == "http" and _is_loopback(trusted[1]))):
        raise CannotRead("its address must be https:// (http:// only on this machine), or a file in the team's folder")
    headers = {"Accept": "text/calendar", "Accept-Encoding": "identity", "User-Agent": "shiftlead"}
    for _ in range(MAX_REDIRECTS + 1):
        host = _host(url)
        left = max(0.1, ends - monotonic())
        local = _is_loopback(trusted[1]) and _origin(url) == trusted  # no proxy for those
        try:
            target = httpx2.URL(url)
            more: dict[str, str] = {}
            extensions: dict[str, str] = {}
            if _origin(url) != trusted:  # asked at the very address that was looked at: the name may soon mean another
                more, extensions = {"Host": target.netloc.decode()}, {"sni_hostname": target.raw_host.decode()}
                target = target.copy_with(host=_public_address(target.raw_host.decode().strip("[]")), userinfo=b"")
            with (
                httpx2.Client(timeout=left, headers=headers, transport=transport, trust_env=not local) as client,
                client.stream("GET", target, headers=more, extensions=extensions) as answer,
            ):
                if answer.has_redirect_location:
                    url = urljoin(url, answer.headers["location"])
                    if _origin(url)[0] != "https":
                        raise CannotRead(f"{host} redirects to an address that is not https")
                    continue
                if answer.status_code != 200:
                    raise CannotRead(f"{host} answered {answer.status_code}")
                data = bytearray()
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > MAX_BYTES:
                        raise CannotRead(f"{host} sends more than {MAX_BYTES} bytes")
                    if monotonic() > ends:
                        raise CannotRead(f"{host} did not send all of it in {timeout_s:g} s")
                return bytes(data)
        except httpx2.TimeoutException as error:
            raise CannotRead(f"{host} did not answer in {timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
            raise CannotRead(f"{host} cannot be reached ({type(error).__name__})") from error
    raise CannotRead(f"more than {MAX_REDIRECTS} redirects")


def mail_addresses(text: str) -> tuple[str, ...]:
    """The mail addresses in a text; a password in an address (user:password@host) is not part of one."""
    return tuple(sorted({found.lower() for found in EMAIL.findall(re.sub(r":[^@/\s]*@", "@", unquote(text)))}))


def _main() -> int:
    """The process for one calendar: what is asked and the calendar come in, the busy times go out as JSON."""
    import resource

    line, _, data = sys.stdin.buffer.read().partition(b"\n")
    about = json.loads(line)
    # if whoever asked is gone, nobody else ends this
    timeout_s = about.pop("timeout_s")
    signal.setitimer(signal.ITIMER_REAL, timeout_s + 1)
    for kind, most in ((resource.RLIMIT_CPU, ceil(timeout_s)), (resource.RLIMIT_AS, MAX_MEMORY)):
        with contextlib.suppress(ValueError, OSError):  # not every system limits memory
            resource.setrlimit(kind, (most, most))
    try:
        if "address" in about:
            sys.stdout.buffer.write(fetch(about["address"], timeout_s=timeout_s))
            return 0
        found = occurrences(data, **about)
    except CannotRead as error:
        print(f"{SAYS}{error}", file=sys.stderr)
        return 1
    except Exception as error:  # its name only: what it says quotes the calendar, somebody's private matters
        print(f"{SAYS}{UNREADABLE} ({type(error).__name__})", file=sys.stderr)
        return 1
    json.dump({"busy": found[:MAX_OCCURRENCES], "cut": len(found) > MAX_OCCURRENCES}, sys.stdout)
    return 0


def _in_a_process(about: dict[str, Any], data: bytes, *, late: str, crashed: str) -> bytes:
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], input=json.dumps(about).encode() + b"\n" + data, capture_output=True,
            timeout=about["timeout_s"], check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CannotRead(late) from None
    if done.returncode < 0:
        raise CannotRead("reading it took too much time or memory")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotRead(said.removeprefix(SAYS)[:SUMMARY_LENGTH] if said.startswith(SAYS) else crashed)
    return done.stdout


def _public_address(host: str) -> str:
    """Where `host` is; refused when any of its addresses is of a private network, of this machine, or of its cloud."""
    found = dict.fromkeys(str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    if not found or not all(map(_is_public, found)):
        raise CannotRead("it redirects to an address that is not on the public internet")
    return next(iter(found))


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else None)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast and str(ip) not in CLOUD


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.hostname or "", parts.port


def _host(url: str) -> str:
    """The host, for a message: others choose where a redirect leads."""
    with contextlib.suppress(ValueError):
        host = urlsplit(url).hostname or ""
        return host if re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", host) else "its host"
    return "its host"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_free(event: Any, owners: set[str]) -> bool:
    if str(event.get("TRANSP", "")).upper() == "TRANSPARENT" or str(event.get("STATUS", "")).upper() == "CANCELLED":
        return True
    if str(event.get("X-MICROSOFT-CDO-BUSYSTATUS", "")).upper() == "FREE":
        return True
    asked = event.get("ATTENDEE", [])
    asked = asked if isinstance(asked, list) else [asked]
    answers = {_mail(a): str(getattr(a, "params", {}).get("PARTSTAT", "")).upper() for a in asked}
    own = [answer for mail, answer in answers.items() if mail in owners]
    if not own:
        own = [answer for mail, answer in answers.items() if mail != _mail(event.get("ORGANIZER", ""))]
    return bool(own) and set(own) == {"DECLINED"}


def _summary(event: Any) -> str:
    if str(event.get("CLASS", "PUBLIC")).upper() != "PUBLIC":
        return "busy"
    return _one_line(str(event.get("SUMMARY", ""))[: 10 * SUMMARY_LENGTH])[:SUMMARY_LENGTH].rstrip() or "busy"


def _one_line(text: str) -> str:
    """Without anything that a terminal obeys, that turns the direction of writing, or that ends a line."""
    shown = (" " if unicodedata.category(c) == "Cc" else c for c in text if c in JOINERS or not _invisible(c))
    return " ".join("".join(shown).split())


def _invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cf", "Cs")


def _unix(moment: date, zone: ZoneInfo) -> float:
    """A day begins at midnight of `zone`; a time without a zone is one of `zone`."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time(), zone).timestamp()
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None


def _mail(value: Any) -> str:
    return re.sub(r"^mailto:", "", str(value).strip(), flags=re.IGNORECASE).lower()


if __name__ == "__main__":
    sys.exit(_main())
