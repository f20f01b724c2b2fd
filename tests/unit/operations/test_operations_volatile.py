"""Which chat turns are exact-only and short-lived, in several languages, and that others aren't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.operations.chat import Chat
from cache_service.operations.volatile import EDGE, why_volatile

MOMENT, ASKER, ACTION, ID = "names a moment", "about the asker", "asks for something to be done", "names an id"

VOLATILE = {
    MOMENT: [
        "What's the weather like today?", "what is the current weather in Paris", "Who is president right now?", "latest iPhone model",
        "Wie ist das Wetter heute?", "Quelle est la météo à Lyon ?", "¿Qué hora es?", "Che tempo fa oggi?", "Quais são as notícias de hoje?",
        "Wat is het nieuws vandaag?", "Jaka jest dziś pogoda?", "Какая сейчас погода?", "Bugün hava nasıl?", "كيف الطقس اليوم",
        "आज मौसम कैसा है", "今天天气怎么样？", "現在の天気は？", "오늘 날씨 어때?", "aujourd’hui, quoi de neuf ?", "TODAY?",
    ],
    ASKER: [
        "What is my account balance?", "Where is my last order?", "Wo ist meine Bestellung?", "Où est ma commande ?", "¿Dónde está mi pedido?",
        "Dov'è il mio ordine?", "Onde está o meu pedido?", "Waar is mijn bestelling?", "Где мой заказ?", "我的订单在哪里？", "私の注文はどこ？",
        "내 주문 어디 있어?",
    ],
    ACTION: [
        "Cancel my subscription", "please transfer 500 euros to Anna", "Hello, could you please book a table for two?", "yes, go ahead",
        "I'd like to pay the invoice", "Delete everything.", "That one is fine. Buy it.", "Storniere die Bestellung", "Bitte lösche alles",
        "Annulez ma réservation", "Por favor, cancela el pedido", "Prenota un tavolo", "Cancele o pedido", "Boek een tafel", "Anuluj zamówienie",
        "Отмени заказ", "Пожалуйста, оплатите счёт", "请帮我取消订单", "转账500元给小明", "予約をキャンセルしてください", "주문 취소해 줘",
    ],
    ID: [
        "Where is order 4711-AX?", "Status of ticket #88231", "invoice no. 2024-0017", "tracking number: 1Z999AA10123456784",
        "what is 3f2504e0-4f89-41d3-9a0c-0305e82c3301", "Was ist mit Bestellung Nr. A-12345?", "订单号：88231234 到哪了",
    ],
}  # fmt: skip

LASTING = [
    "Why is the sky blue?", "Write a poem about love", "What is the capital of France?", "Explain how photosynthesis works",
    "How do I delete my Facebook account?", "How can I cancel a flight booking?", "What does it mean to book a hotel?",
    "Is it safe to pay online?", "What is an order 3 polynomial?", "Wie lange dauert es, ein Ei zu kochen?", "Comment faire une crêpe ?",
    "¿Cómo se hace una tortilla?", "Was ist der Unterschied zwischen Zinn und Blei?", "法国的首都是哪里？", "フランスの首都はどこですか？",
    "프랑스의 수도는 어디입니까?", "Почему небо голубое?", "What is RFC 9111?", "Translate 'good evening' to German", "my cat is ill",
]  # fmt: skip


@pytest.mark.parametrize(("why", "turn"), [(why, turn) for why, turns in VOLATILE.items() for turn in turns])
def test_a_turn_whose_answer_does_not_last_says_why(why: str, turn: str) -> None:
    asked = Chat().parse({"messages": [{"role": "user", "content": turn}]})
    assert (asked.why_exact, asked.semantic, asked.volatile) == (why, False, True)


@pytest.mark.parametrize("turn", LASTING)
def test_what_is_true_tomorrow_may_be_found_by_meaning(turn: str) -> None:
    asked = Chat().parse({"messages": [{"role": "user", "content": turn}]})
    assert (asked.why_exact, asked.semantic, asked.volatile) == ("", True, False)


def test_only_the_last_turn_counts() -> None:
    """Everything before it has to be equal anyway."""
    turns = [{"role": "user", "content": "Weather today?"}, {"role": "assistant", "content": "Sun."}]
    assert not Chat().parse({"messages": [*turns, {"role": "user", "content": "Why is the sky blue?"}]}).volatile


def test_what_is_asked_around_a_long_document_is_seen() -> None:
    document = "lorem ipsum " * EDGE
    assert why_volatile(document + "What is the latest on this?")
    assert why_volatile("Cancel this: " + document)
    assert not why_volatile(document)


@given(st.text(max_size=200))
def test_any_text_has_an_answer_and_case_and_white_space_do_not_change_it(text: str) -> None:
    why = why_volatile(text)
    assert why in {"", *VOLATILE}
    if text.isascii():
        assert why_volatile(text.upper()) == why
        assert why_volatile(text.replace(" ", "  ")) == why


@pytest.mark.parametrize(
    "text",
    [
        "order" + " " * EDGE + "x",
        "my " + "a-" * EDGE,
        "please," + " ," * EDGE,
        "\n-" * EDGE,
        "yes " * EDGE,
        "no. " * EDGE,
    ],
)
def test_a_hostile_text_ends_soon(text: str) -> None:
    """Patterns are tried a bounded number of times at each place; one that tries runs again and again wouldn't end today."""
    assert why_volatile(text) in {"", *VOLATILE}
