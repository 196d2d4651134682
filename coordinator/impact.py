"""How bad is it? Reads impact, not loudness: an outage or a stolen card is urgent, the word "money" is not.

Only prose is read (words in a log are not impact), and a denied cue does not count ("no data loss").
Also here: which tickets are nobody's work (empty, a test, advertising). Those cues are few and strict, because a real
short question must never be closed.
"""

# ruff: noqa: E501 - one cue a line reads better than a wrapped pattern
from __future__ import annotations

import re

__all__ = ["impact", "nobodys_work"]

THING = r"(?:card|phone|mobile|wallet|purse|handbag|bag)"
MONEY = r"(?:payments?|charges?|transactions?|withdrawals?|transfers?|purchases?|debits?|cash|money|amount)"
SYSTEM = r"(?:production|prod|site|website|shop|service|system|checkout|platform|everything|database|servers?|api)"
GAP = r"(?:\W{1,20}\w{1,60}){0,5}?\W{1,20}"  # a few words; what is a word and what is between is never both
# (what it is called in the reasons, pattern, may a "no" or "not" before it deny it)
URGENT = [
    ("outage", rf"\boutages?\b|\b{SYSTEM} (?:is|are|went|has been|seems) (?:completely |totally |all )?(?:down|offline|unreachable)\b"
     rf"|\b{SYSTEM} down\b|\bdown for (?:everyone|everybody|all)\b", True),
    ("nobody can work", r"\b(?:nobody|no one|none of (?:us|our|the) \w+|no customers?) (?:can|is able to|could)\b"
     r"|\ball (?:customers|users|orders|payments) (?:are|cannot|can't|fail)", False),
    ("data loss", r"\bdata[ -]?loss\b|\b(?:lost|deleted|wiped|corrupts?|corrupted|loses?|losing) (?:\w+ )?(?:\w+ )?(?:data|database|records|backups?)\b"
     r"|\b(?:data|database|records) (?:is|are|was|were|has been|have been|gets?) (?:\w+ )?(?:lost|deleted|corrupted|wiped)\b|\bdata corruption\b", True),
    ("security", r"\b(?:security|data) breach\b|\b(?:been |was |got )?(?:hacked|compromised|ransomware)\b|\bleaked\b"
     r"|\bunauthori[sz]ed (?:access|login|transactions?|payments?|charges?|use)\b|\bphishing\b|\bidentity theft\b"
     r"|\b(?:someone|somebody)(?: else)? (?:is |has |has been |might be |may be )?(?:using|used|accessed|got into|stole|logged)\b|\bsql injection\b", True),
    ("legal deadline", r"\blegal (?:deadline|action|proceedings)\b|\blawsuit\b|\b(?:my|our|a) (?:lawyer|attorney|solicitor)\b|\bsubpoena\b"
     r"|\bcourt (?:date|order|case|hearing)\b|\bregulator\b|\bsue you\b", True),
    ("lost or stolen", rf"\b(?:lost|stolen|stole|steal|missing|misplaced|robbed){GAP}{THING}\b"
     rf"|\b{THING}{GAP}(?:was |were |is |been |got |has |have )*(?:lost|stolen|missing|disappeared|misplaced)\b"
     rf"|\b(?:can't|cannot|can not|couldn't) find (?:my|the) {THING}\b|\bi (?:think i |just )?(?:was|got) (?:mugged|robbed)\b"
     rf"|\b(?:machine|atm|cashpoint)\b.{{0,25}}\b(?:swallowed|ate|kept|took|retained|stole)\b.{{0,10}}\bcard\b|\bcard\b.{{0,25}}\b(?:swallowed|eaten)\b", False),
    ("unrecognised charge", rf"\b(?:don't|do not|didn't|did not|never|not|haven't|cannot|can't)(?: \w+){{0,2}} (?:recogni[sz]ed?|mak(?:e|ing)|made|authori[sz]ed?|approved?|set up|request(?:ed)?|take|withdraw)\b.{{0,30}}\b{MONEY}\b"
     rf"|\b{MONEY}\b.{{0,50}}\b(?:(?:don't|do not|didn't|did not|never|haven't|not)(?: \w+)? (?:recogni[sz]ed?|ma[dk]e|authori[sz]ed?|do|done|request(?:ed)?|mine|set up)|(?:isn't|wasn't|not) (?:mine|me))\b"
     r"|\bunrecogni[sz]ed\b|\bfraud(?:ulent|sters?)?\b|\bscam(?:med)?\b", False),
]  # fmt: skip
HIGH = [
    ("blocked", r"\bblock(?:ed|er|ing us|s us)\b|\b(?:cannot|can't|unable to) (?:work|log ?in|login|access|use|pay|order|check ?out|deploy|continue)\b"
     r"|\blocked out\b|\bstuck\b", True),
    ("complaint", r"\bcomplain(?:t|ts|ing)?\b|\bunacceptable\b|\b(?:furious|angry|outrageous|disgusted|ridiculous)\b|\b(?:terrible|awful|worst|horrible) (?:service|experience|company|support)\b|\bmanager\b.{0,20}\b(?:speak|talk)\b|\b(?:speak|talk)\b.{0,20}\bmanager\b", True),
    ("double charge", r"\b(?:charged|billed|paid|debited|deducted|taken) (?:\w+ ){0,4}(?:twice|two times|double|again)\b|\b(?:double|duplicate)[ -]?(?:charge|charged|payment|billing)s?\b|\btwice\b.{0,30}\b(?:charged?|billed|payment|account)\b|\bovercharged\b", True),
    ("refund", r"\brefund(?:ed|s|ing)?\b(?! polic)|\bmoney back\b|\bchargeback\b", True),
    ("wants it now", r"\burgent(?:ly)?\b|\basap\b|\bimmediately\b|\bright away\b|\bemergency\b", True),
    ("fails badly", r"\bcrash(?:es|ed|ing)?\b|\bdeadlocks?\b|\bregression\b|\bcritical\b|\bmemory leak\b|\bout of memory\b|\bhangs?\b", True),
]  # fmt: skip
LOW = [
    ("cosmetic", r"\bcosmetic\b|\btypos?\b|\bspelling\b|\bmisspell\w*\b|\bjavadocs?\b|\bindentation\b|\bwording\b|\bwhitespace\b", False),
    ("nice to have", r"\bnice[ -]to[ -]have\b|\bwould be (?:nice|great|cool|lovely)\b|\bfeature (?:request|wish)\b|\bsuggestion\b|\bwish ?list\b|\bsomeday\b", False),
    ("no hurry", r"\bno (?:rush|hurry)\b|\bnot (?:\w+ )?urgent\b|\blow priority\b|\bwhenever you (?:have|get|find)\b|\bwhen you have (?:time|a moment)\b", False),
]  # fmt: skip
LEVELS = [
    (level, [(name, re.compile(pattern, re.IGNORECASE), deniable) for name, pattern, deniable in rows])
    for level, rows in (("urgent", URGENT), ("high", HIGH), ("low", LOW))
]
DENIED = re.compile(
    r"(?:\b(?:no|not|never|without|isn't|wasn't|aren't|doesn't|don't|didn't|haven't|hasn't|prevents?|avoids?|against|in case of|simulated?)"
    r"(?: \w+){0,2}|\b(?:no|without) (?:\w+ ){1,3}or) ?$", re.IGNORECASE,
)  # fmt: skip
OVER = re.compile(
    r"^\W*(?:\w+ ){0,2}(?:is |was |has been )?(?:over|resolved|restored|fixed|averted|drill|policy|postmortem)\b",
    re.IGNORECASE,
)

TEST = re.compile(
    r"(?:this is )?(?:just |only )?(?:an? )?(?:test(?:ing)?|test(?:ing)? (?:ticket|message|mail|e-?mail|post|123|one two three)"
    r"|asdf\w*|qwert\w*|lorem ipsum.*|hello world)(?: \d+)*", re.IGNORECASE | re.DOTALL,
)  # fmt: skip
IGNORE = re.compile(
    r"(?:(?:this is )?(?:just |only )?(?:an? )?test(?:ing)?\b.{0,30})?please (?:ignore|disregard|delete)(?: (?:this|me|it))?"
    r"(?: (?:test|ticket|message|mail|e-?mail))*|(?:asdf|sdfg|qwer|jkl)[a-z]*", re.IGNORECASE,
)  # fmt: skip
SPAM = [re.compile(p, re.IGNORECASE) for p in (
    r"\bclick (?:here|now|below|this link)\b", r"\bunsubscribe\b", r"\b(?:limited|exclusive)[ -]time\b|\boffer (?:ends|expires)\b|\bact now\b",
    r"\b(?:100|completely) ?%? (?:free|guaranteed)\b|\brisk[ -]free\b|\bguaranteed (?:results|income|profit|returns)\b",
    r"\b(?:earn|make) (?:up to )?[$€£]\s?\d|\bwork from home\b|\bpassive income\b|\bextra income\b",
    r"\b(?:viagra|cialis|casino|lottery|jackpot|forex|weight loss|escorts?)\b", r"\bcongratulations\b.{0,40}\bwon\b|\byou(?:'ve| have) (?:been selected|won)\b",
    r"\b(?:seo|backlinks?|first page of google|rank(?:ing)? (?:on|in) google|web ?traffic)\b", r"\b(?:buy|order|shop|subscribe) now\b|\blowest prices?\b|\bspecial offer\b",
    r"\b(?:inheritance|next of kin|business proposal|million (?:usd|dollars|euros))\b", r"\b(?:crypto|bitcoin)\b.{0,40}\b(?:double|profit|invest)\b",
    r"\b[5-9]\d ?% (?:off|discount)\b", r"https?://\S.*https?://\S",
)]  # fmt: skip


def impact(prose: str) -> tuple[str, list[str]]:
    """The priority the text itself suggests, and why. Nothing found is normal."""
    for level, rows in LEVELS:
        found = [f"{name}: “{hit}”" for name, pattern, deniable in rows if (hit := _hit(pattern, prose, deniable))]
        if level == "high" and _hit(LEVELS[2][1][2][1], prose, False):
            found = [f for f in found if not f.startswith("wants it now")]
        if found:
            return level, found
    return "normal", ["a question or request without signs of damage"]


def nobodys_work(title: str, body: str, *, explicit_type: bool, has_more: bool) -> str:
    """Why nobody should work on it, or "". `has_more`: links or context say something beside the text."""
    parts = [" ".join(p.split()).strip(" .!?-:,;\"'") for p in (title, body)]
    said = [p for p in parts if any(ch.isalnum() for ch in p)]
    if not said:
        return "" if has_more or explicit_type else "empty: neither title nor body says anything"
    plain = [re.sub(r"[.!?,:;-]+", "", p) for p in said]
    strict = [bool(IGNORE.fullmatch(p)) for p in plain]
    loose = [bool(TEST.fullmatch(p)) for p in plain]
    if any(strict) and all(a or b for a, b in zip(strict, loose, strict=True)):
        return f"a test: the text says only {said[0][:60]!r}"
    if all(loose) and not explicit_type:
        return f"a test: the text says only {said[0][:60]!r}"
    text = f"{title}\n{body}"[:20_000]
    cues = [m[0] for pattern in SPAM if (m := pattern.search(text))]
    if len(cues) >= 3:
        return f"advertising: {', '.join(repr(c[:30]) for c in cues[:4])}"
    return ""


def _hit(pattern: re.Pattern[str], prose: str, deniable: bool) -> str:
    for match in pattern.finditer(prose):
        before = re.split(r"[.!?;\n]|\bbut\b", prose[max(0, match.start() - 60) : match.start()])[-1]
        if deniable and (DENIED.search(before) or OVER.search(prose[match.end() : match.end() + 40])):
            continue
        return " ".join(match[0].split())[:60]
    return ""
