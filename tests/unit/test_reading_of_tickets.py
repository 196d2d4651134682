"""What triage reads in tickets: damage in many languages, two ways of urgency, adverts, tests, short questions."""

from __future__ import annotations

import pytest

from shiftlead.coordinator.impact import impact, source_urgency
from shiftlead.coordinator.nobodys_work import nobodys_work


def nobody(title: str, body: str = "") -> str:
    return nobodys_work(title, body, explicit_type=False, has_more=False)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Seit 8 Uhr ist der Shop komplett ausgefallen", "outage"),
        ("Le serveur est en panne", "outage"),
        ("El servidor está caído", "outage"),
        ("O sistema está fora do ar", "outage"),
        ("Il sito è irraggiungibile", "outage"),
        ("De website ligt plat", "outage"),
        ("本番サーバーがダウンしています", "outage"),
        ("网站崩了，打不开", "outage"),
        ("Сервер упал ночью", "outage"),
        ("We lost all records of yesterday", "data loss"),
        ("Perdita di dati dopo il crash", "data loss"),
        ("Mein Portemonnaie wurde mir gestohlen", "lost or stolen"),
        ("On m'a volé ma carte", "lost or stolen"),
        ("Me robaron la tarjeta", "lost or stolen"),
        ("Meu celular foi roubado", "lost or stolen"),
        ("银行卡丢了", "lost or stolen"),
        ("カードを紛失しました", "lost or stolen"),
        ("украли карту", "lost or stolen"),
        ("Non riconosco questo addebito", "unrecognised charge"),
        ("Je ne reconnais pas ce paiement", "unrecognised"),
        ("身に覚えのない請求があります", "unrecognised"),
        ("There is a debit I do not remember making", "unrecog"),
        ("CVE-2024-1234 in the parser", "security"),
        ("Mein Konto wurde gehackt", "security"),
        ("The court wants our answer by Friday", "legal"),
        ("Mise en demeure de notre avocat", "legal"),
    ],
)
def test_damage_is_urgent_in_every_language(text: str, kind: str) -> None:
    """SD-03, `urgency_rules: impact`."""
    level, why = impact(text)
    assert level == "urgent"
    assert any(reason.startswith(kind) for reason in why), why


@pytest.mark.parametrize(
    "text",
    [
        "URGENT!!! please tell me your opening hours",
        "How much money can I send abroad?",
        "Es gab keinen Datenverlust",
        "I found my card again, the one I thought I lost, how do I reactivate it?",
        "¿Cuánto cuesta el envío?",
        "Combien coûte une carte ?",
        "The outage is over, thank you",
        "支払い方法を教えてください",
        "Как оплатить заказ?",
    ],
)
def test_loudness_money_and_denied_damage_are_not_urgent(text: str) -> None:
    assert impact(text)[0] != "urgent"


@pytest.mark.parametrize(
    ("text", "level", "kind"),
    [
        ("I want my money back", "urgent", "money"),
        ("You charged me for shipping", "urgent", "money"),
        ("It cost me $ 40", "urgent", "money"),
        ("My lawyer will hear of this", "urgent", "legal"),
        ("I will report you to everybody", "urgent", "explicit threat"),
        ("Very disappointed", "high", "dissatisf"),
        ("The parcel is still not here", "high", "complaint"),
        ("This is the third time it came broken", "high", "comp"),
        ("Do you have this in blue?", "normal", "a standard"),
        ("How do I change my e-mail address?", "normal", "a stan"),
    ],
)
def test_the_sources_cues_are_read_as_they_were_written(text: str, level: str, kind: str) -> None:
    """SD-03, `urgency_rules: source`: money, law and threats; dissatisfaction and complaints; the rest."""
    read_as, why = source_urgency(text)
    assert read_as == level
    assert why[0].startswith(kind)


def test_the_two_ways_part_where_the_word_money_stands() -> None:
    """SD-03's defect, shown: a plain question about a payment is urgent by the source, and normal by its impact."""
    question = "Which payments do you accept?"
    assert source_urgency(question)[0] == "urgent"
    assert impact(question)[0] == "normal"
    outage = "The shop is down for everybody"
    assert source_urgency(outage)[0] == "normal"
    assert impact(outage)[0] == "urgent"


@pytest.mark.parametrize(
    ("title", "body"),
    [
        ("Prueba", "esto es una prueba, ignorar"),
        ("Testnachricht", "bitte ignorieren"),
        ("テスト", ""),
        ("测试一下", ""),
        ("sdfgsdfg", "dfgdfg"),
        ("тест", ""),
        ("Test", "just testing the form"),
        ("Top of Google", "We are an SEO agency and can bring your website to the first page of Google. Free quote!"),
        (
            "Guest post",
            "I would love to publish a sponsored article with a dofollow link. What do you charge for a link?",
        ),
        ("Loan offer", "We offer loans at 2 % interest rate to everybody. Contact us via WhatsApp +123456"),
        ("Kredit ohne Schufa", "Sofortkredit bis 40.000 Euro, jetzt beantragen!"),
        ("Dinero fácil", "Gana dinero desde casa, haga clic aquí"),
        ("Заработок в интернете", "без вложений, переходи по ссылке"),
        ("Bitcoin", "Invest in our crypto platform and double it, guaranteed weekly profit. Join telegram @coins"),
        ("代开发票", "联系微信 998877"),
        ("You have won", "Congratulations, you have been selected! Claim your prize, click here"),
        ("LED", "Dear purchasing manager, we are a professional manufacturer in China, see our catalog, best price"),
    ],
)
def test_adverts_and_tests_are_nobodys_work_in_every_language(title: str, body: str) -> None:
    """EN-03."""
    assert nobody(title, body)


@pytest.mark.parametrize(
    ("title", "body"),
    [
        ("PIN?", ""),
        ("help", ""),
        ("refund", ""),
        ("hours", ""),
        ("卡", ""),
        ("ログインできない", ""),
        ("оплата", ""),
        ("vpn", ""),
        ("test account", "I cannot log in to my test account"),
        ("", "please unsubscribe me"),
        ("Casino charge", "There is a casino charge on my card that I never made"),
        ("", "why?"),
        ("Bitcoin scam", "I was scammed, they promised profit and my money is gone. Please stop the transfer!"),
        ("Loan", "I need a copy of my loan contract, and what is my interest rate?"),
        ("keyboard", ""),
        ("wtf", ""),
        ("SEO", "The sitemap plugin throws an exception after the update"),
        ("", "Is there a free trial?"),
        ("Newsletter", "How do I unsubscribe? Click here does not work"),
        ("", "crypto wallet page crashes on click"),
    ],
)
def test_a_real_ticket_is_never_taken_for_an_advert_or_a_test(title: str, body: str) -> None:
    """EN-03: closing a real question is worse than reading an advert."""
    assert not nobody(title, body)
