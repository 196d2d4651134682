"""Which tickets are nobody's work: empty, a test, advertising. They are cancelled with the reason and never answered.

A real short question must never be closed. So a test says nothing else, and advertising is known by several cues of
different kinds: what is sold, how it is praised, where to turn. Who writes about an order, an account or an error of
their own needs more of them.
"""

# ruff: noqa: E501 - one cue a line reads better than a wrapped pattern
from __future__ import annotations

import re

from shiftlead.agents.classifier_text import fold

from .cues import Cue

__all__ = ["nobodys_work"]

MOST = 3_000  # characters that are read
ENOUGH = 4  # points of an advertisement

TEST = re.compile(
    r"(?:this is )?(?:just |only )?(?:an? |my |first )?(?:test(?:ing|s|e|ed)?\d*|test(?: test)+|test(?:ing)? (?:ticket|message|mail|e-?mail|post|request|form|only|the form|123|one two three)"
    r"|prueba|esto es una prueba|teste|isto e um teste|un test|ceci est un test|essai|prova|questa e una prova|dit is een test|das ist ein test|testnachricht|testmail|тест|проверка|это тест"
    r"|测试|测试一下|テスト|テストです|테스트|asdf\w*|qwert\w*|qwertz\w*|lorem ipsum.*|hello world|foo|foo bar|foobar|blah|bla bla|xxx+|aaa+|abc|123+|1234\w*)(?: \d+)*",
    re.DOTALL,
)  # fmt: skip
IGNORE = re.compile(
    r"(?:(?:this is )?(?:just |only )?(?:an? )?(?:test(?:ing)?|prueba|esto es una prueba|teste|essai|prova)\b.{0,30})?(?:please |bitte |merci d'|por favor |favor |per favore |graag )?(?:ignore|ignorer|disregard|delete|ignorieren|ignorar|ignorare|negeren|не обращайте внимания|игнорируйте)(?: (?:this|me|it))?"
    r"(?: (?:test|ticket|message|mail|e-?mail))*|(?:just |only )?testing (?:the |this |our )?(?:form|system|ticket|e-?mail|mail|integration|contact form)",
)  # fmt: skip
KEYS = re.compile(r"(?:[asdfghjkl]{5,}|[qwertyuiop]{6,}|[zxcvbnm]{5,}|(?:[sdfghjk]{2,}){2,})")
VOWEL = re.compile(r"[aeiouy]")
CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")

# (points, name, pattern); patterns meet folded text. Two points: hardly ever said by somebody who needs help.
SPAM = [(points, name, Cue(pattern)) for points, name, pattern in (
    (3, "search ranking", r"\bseo\b|\bback ?links?\b|\b(?:first|1st|top) (?:page|position)s? (?:of|on|in) google\b|\brank(?:ing|s|ed)? (?:#?1 |higher |your \w+ )?(?:on|in) google\b|\b(?:more|increase|boost|augmentez|aumenta\w*|mehr) (?:your |votre |tu |seu |il tuo )?(?:\w+ )?(?:web )?(?:traffic|trafic|trafico|besucher)\b|\bdo-?follow\b|\bdomain authority\b|\bguest (?:post|article)s?\b|\bsponsored (?:post|article|content)s?\b|\blink (?:insertion|building|exchange)\b|продвижение сайт\w*|раскрутк\w*|网站优化|搜索引擎排名"),
    (3, "credit offers", r"\b(?:we (?:offer|give|provide)|offer of|get an? (?:instant|quick|urgent)|need an? (?:urgent |quick |instant )?)(?:\w+ ){0,4}loans?\b|\bloan offer\b|\bloans? (?:at|with) \d|\b(?:sofortkredit|kredit ohne schufa|ohne schufa|kreditangebot)\b|\b(?:offre|proposition) de (?:pret|credit)\b|\bpret (?:entre|rapide|sans)\b|\b(?:oferta de|prestamos? (?:rapido|entre|urgente|personales|al \d|sin|de dinero))\w*\b|\bemprestimo (?:rapido|facil|sem)\b|\boferta de emprestimo\b|\b(?:prestit[oi] (?:tra|veloc\w|facil\w)|offerta di prestito)\b|займ\w* (?:без|онлайн|под)|кредит без|\bqualif(?:y|ies) for an? [$€£]?[\d,.]+ ?(?:\w+ )?loan\b|贷款|无抵押|融資(?:します|のご案内)"),
    (3, "coins and trading", r"\b(?:crypto|bitcoin|btc|ethereum|usdt|forex|binary options|trading)\b.{0,60}\b(?:profits?|invest\w*|earn\w*|double|returns?|signals?|guarantee\w*|platform|rendite|gewinn|ganancias|lucro|guadagn\w+|winst)\b|\b(?:invest\w*|earn\w*|double|guadagn\w+|ganhe|gana|verdien\w*|gagnez)\b.{0,60}\b(?:crypto|bitcoin|btc|ethereum|usdt|forex|trading)\b|\bmining pool\b.{0,40}\bprofit"),
    (3, "gambling", r"\b(?:casino|jackpot|free spins|slot machines?|betting tips|sportwetten|apuestas|cassino|scommesse)\b|казино|ставки на спорт|博彩|赌场|彩票|カジノ"),
    (3, "pills", r"\b(?:viagra|cialis|levitra|tramadol|no prescription|weight loss|lose weight|diet pills?|keto gummies|cbd gummies|penis|testosterone booster)\b|похуде\w*|减肥|壮阳"),
    (3, "adult", r"\b(?:escorts?|hot (?:girls|singles|women|milfs?)|sexy|porn\w*|xxx videos?|hookup|nudes?|sugar (?:daddy|mommy)|onlyfans)\b|интим\w*|约炮|裸聊|出会い系"),
    (3, "inheritance", r"\b(?:inheritance|next of kin|business proposal|barrister|beneficiary of|late (?:client|husband|father)|million (?:usd|dollars|euros|pounds)|(?:usd|\$|eur) ?\d+(?:\.\d+)? ?million|dying of|strictly confidential)\b"),
    (3, "prize", r"\bcongratulations\b.{0,80}\b(?:won|winner|selected)\b|\byou(?:'ve| have)? (?:been (?:randomly )?selected|won)\b|\b(?:lottery|lotto) (?:winner|winning|prize)\b|\bclaim your (?:prize|reward|gift|voucher)\b|\b(?:sie haben|du hast|vous avez|has|ha|voce|hai|ha|u heeft|je hebt) (?:\w+ ){0,4}(?:gewonnen|gagne|ganado|ganhou|vinto)\b|вы выиграли|中奖|当選"),
    (3, "easy money", r"\b(?:earn|make) (?:up to )?[$€£]\s?\d|\bwork from home\b|\bpassive income\b|\bextra income\b|\bfinancial freedom\b|\b(?:geld verdienen|nebenverdienst|verdienen sie)\b|\b(?:gagnez|gagner) (?:de l'argent|jusqu|\d)|\bgan(?:e|ar|a) (?:dinero|dinheiro|hasta|r\$|\$|\d)|\brenda extra\b|\btrabalhando em casa\b|\bguadagna(?:re)? (?:\w+ ){0,2}(?:\d|soldi|online)|\bguadagna online\b|\bthuis(?: \w+)? verdienen\b|заработ\w* (?:\w+ )?(?:в интернете|от \d|без вложений|дома)|зарабатывай\w*|兼职|日赚|月入|在宅で稼|副業"),
    (3, "offers its services", r"\bwe are an? (?:\w+[ -]){0,6}(?:seo|marketing|web|app|software|mobile|outsourcing|design|development|digital|it|recruitment|video|lead)(?: \w+){0,4} (?:agency|company|firm|team|studio)\b|\b(?:web ?design|app development|web development|digital marketing|lead generation|logo design|explainer videos?|bookkeeping|virtual assistant) (?:services?|packages?|company)\b|\bdo you need (?:help with |any )?(?:video|photo|web|logo|content|app|seo|graphic|social media)\b|\b(?:video|photo) editing\b.{0,120}\b(?:prices?|portfolio|brands|starting)\b|\bprices? (?:start\w* )?from [$€£]|\b(?:redesign|build|improve) your website\b|\b(?:our|my) portfolio\b|\bcan i send you (?:\w+ ){0,3}(?:portfolio|price|quote|proposal|details)\b|\bwe help (?:\w+ ){0,2}(?:businesses|companies|brands|owners|stores)\b|\b(?:facebook|google|instagram|linkedin) ads\b.{0,80}\b(?:interested|call|leads|grow)\b|\b(?:came across|looking at|visited|reviewed) your (?:web ?site|page|store|profile)\b|\bget (?:you )?more (?:customers|leads|traffic|sales|clients)\b|\bwe can (?:help you|bring|increase|boost|grow)\b.{0,60}\b(?:website|sales|traffic|business|leads|google)\b"),
    (3, "sells goods", r"\b(?:professional|leading|direct|chinese) (?:\w+ ){0,3}(?:manufacturer|factory|supplier|exporter|wholesaler)\b|\bmanufacturer (?:of|in|from)\b|\bdear (?:purchasing|procurement|sir/madam)\b.{0,200}\b(?:catalog(?:ue)?|products?|factory|price list)\b|\bfactory (?:price|direct)\b|\bwholesale (?:price|supplier)s?\b|\bour (?:latest )?catalog(?:ue)?\b|\breplica\b.{0,30}\b(?:watch(?:es)?|bags?|sale|rolex)\b|\brolex\b.{0,20}\breplica\b|\b(?:rolex|replica) (?:watches|bags)\b|\blouis vuitton\b|\bray-?ban sale\b"),
    (3, "address lists", r"\b(?:e-?mail|contact|b2b|business) (?:list|lists|database|leads?)\b.{0,60}\b(?:sale|sell|buy|purchase|offer|interested|verified|million)\b|\b(?:verified|targeted) (?:\w+ ){0,7}(?:contacts|leads|e-?mails|followers)\b|\bbuy (?:followers|likes|reviews|subscribers)\b|\b(?:instagram|tiktok|youtube) (?:followers|likes|views)\b|\b(?:seguidores|seguaci|abonnes|follower|volgers) (?:de |auf |su |sur |op |baratos )?(?:instagram|tiktok|youtube)\b"),
    (3, "false receipts", r"代开\w{0,4}(?:发票|证)|开(?:具)?发票.{0,20}(?:微信|联系|优惠)|办证|刻章"),
    (2, "praise", r"\b(?:100|completely) ?%? (?:free|guaranteed|safe|legit)\b|\brisk[ -]free\b|\bguaranteed (?:results|income|profits?|returns|approval)\b|\bguaranteed\b.{0,30}\b(?:weekly|daily|profit)|\b\d+ ?% (?:weekly|daily|monthly|roi)\b|\bno (?:obligation|deposit|credit check)\b|\bbest (?:price and|quality and|prices?)\b|\blowest prices?\b|\bsatisfaction guaranteed\b|\bmiracle\b|без вложений"),
    (2, "hurry", r"\b(?:limited|exclusive)[ -]time\b|\boffer (?:ends|expires|valid)\b|\bact (?:now|fast)\b|\b(?:special|exclusive) offer\b|\boffre exclusive\b|\boferta exclusiva\b|\bofferta esclusiva\b|\bnur (?:noch )?heute\b|\bjetzt (?:beantragen|bestellen|kaufen|zugreifen)\b|\bdon't miss\b|\bonly today\b|\b[5-9]\d ?% (?:off|discount|rabatt|de descuento|de desconto|di sconto|korting)\b"),
    (2, "click", r"\bclick (?:here|now|below|this link|the link)\b|\bcliquez\b|\bhaga clic\b|\bclique (?:aqui|no link)\b|\bclicca\b|\bklicken sie (?:hier|jetzt)\b|\bklik hier\b|переход\w+ по ссылке|жми\w*|点击(?:链接|这里|领取)|こちらをクリック|\b(?:buy|order|shop|subscribe|register|join|apply|play) now\b"),
    (2, "write to me", r"\b(?:telegram|whatsapp|wechat|skype|signal)\b.{0,20}(?:@|\+?\d|group|channel|us|me)|\b(?:contact|reach|write|text|add) (?:us|me) (?:via|on|at|through)?(?: \w+)? ?(?:telegram|whatsapp|wechat|skype)\b|\b(?:contact\w*|par|por|via|al|no|su|escri\w+) (?:al |por |no |su )?whatsapp\b|(?:加|联系)?(?:微信|qq)[:：]? ?\w*\d+|\bjoin (?:our )?(?:telegram|channel)\b|\breply for (?:a )?(?:quote|details|price)\b"),
    (3, "false notices", r"\b(?:new|unheard|missed) (?:voice ?mail|voice message|fax|document)s?\b.{0,80}\b(?:click|listen|open|view|download)\b|\b(?:mailbox|account|password) (?:is |will be |has )?(?:almost full|expires?|suspended|deactivated)\b.{0,80}\b(?:click|verify|confirm|here)\b.{0,60}https?://|\bverify your (?:account|identity|wallet)\b.{0,60}https?://"),
    (1, "leave the list", r"\b(?:to )?(?:unsubscribe|opt[ -]out)\b (?:here|click|reply|from this (?:list|mailing))|\bunsubscribe\s*$|\breply (?:stop|remove)\b"),
    (1, "salutation", r"\bdear (?:sir ?(?:/|or) ?madam|friend|beloved|website owner|business owner|webmaster|purchasing manager|manager/owner|site owner)\b|\bhello sir\b|\bgreetings of the day\b"),
    (1, "links", r"https?://\S+.{0,200}https?://\S+"), (1, "short links", r"\b(?:bit\.ly|tinyurl\.com|t\.me|goo\.gl|cutt\.ly)/\w+"),
    (1, "sells", r"\b(?:affordable|cheap(?:est)?) (?:price|rate|cost|\w+)s?\b|\bfor sale\b|\bfree (?:quote|consultation|trial|sample)s?\b|\binterested\?|\b(?:interest rate|low rates?)\b|\b\d+ ?% (?:interest|zinsen)\b"),
)]  # fmt: skip
# Somebody writes about something of their own. "Unsubscribe me", "I was scammed with bitcoin", "casino charge I never made".
OWN = Cue(
    r"\b(?:my|our) (?:order|account|card|parcel|package|money|payment|refund|subscription|invoice|password|delivery|app|phone|laptop|site|server|bank|transfer|statement|loan|mortgage|credit|deposit|ticket)\b"
    r"|\bi (?:was|am (?:waiting|unable|not|still|locked|missing)|have been|got|did ?n.t|never|can ?not|can.t|ordered|bought|paid|received)\b|\b(?:scammed|fraud|stolen|not working|error|exception|refund|unsubscribe me|stop sending)\b|\bsteps to reproduce\b|\b(?:mein|meine|meiner|mon|ma|mes|mi|mis|meu|minha|mio|mia|mijn) (?:konto|karte|bestellung|compte|carte|commande|cuenta|tarjeta|pedido|conta|cartao|ordine|carta|rekening|pas)\b"
)  # fmt: skip


def nobodys_work(title: str, body: str, *, explicit_type: bool, has_more: bool) -> str:
    """Why nobody should work on it, or "". `has_more`: links or context say something beside the text."""
    parts = [" ".join(fold(p[:MOST]).split()).strip(" .!?-:,;\"'") for p in (title, body)]
    said = [p for p in parts if any(ch.isalnum() for ch in p)]
    if not said:
        return "" if has_more or explicit_type else "empty: neither title nor body says anything"
    plain = [re.sub(r"[.!?,:;-]+", "", p) for p in said]
    strict = [bool(IGNORE.fullmatch(p)) or _hammered(p) for p in plain]
    loose = [bool(TEST.fullmatch(p)) for p in plain]
    if any(strict) and all(a or b for a, b in zip(strict, loose, strict=True)):
        return f"a test: the text says only {said[0][:60]!r}"
    if all(loose) and not explicit_type:
        return f"a test: the text says only {said[0][:60]!r}"
    return _advertising(" \n ".join(parts))


def _hammered(text: str) -> bool:
    """Whether somebody only ran over the keys. One such word, or a few, and nothing that could be a word."""
    words = text.split()
    return 0 < len(words) <= 4 and all(
        len(w) >= 4
        and w not in KNOWN
        and w.isascii()
        and w.isalpha()
        and (KEYS.fullmatch(w) or CONSONANTS.search(w) or not VOWEL.search(w))
        for w in words
    )


KNOWN = frozenset(
    [
        "flash",
        "flags",
        "glass",
        "gags",
        "salad",
        "alfalfa",
        "property",
        "typewriter",
        "http",
        "https",
        "lengths",
        "strengths",
    ]
)


def _advertising(text: str) -> str:
    found = [(points, name, m[0]) for points, name, pattern in SPAM if (m := pattern.search(text))]
    needed = ENOUGH + 3 if OWN.search(text) else ENOUGH
    sold = [name for points, name, _ in found if points == 3]
    whole = sum(points for points, _, _ in found)
    if whole >= needed or (sold and whole >= 3 and needed == ENOUGH and _speaks_to_all(text)):
        return f"advertising: {', '.join(f'{name} ({hit[:30]!r})' for _, name, hit in found[:4])}"
    return ""


def _speaks_to_all(text: str) -> bool:
    """No question of one's own: it says you and your, or we offer, and not I need."""
    return not re.search(
        r"\b(?:i need|i want|i would like|can i get|how (?:do|can) i|my|ich|je|yo|eu|io|ik|мне|我的|私の)\b", text
    )
