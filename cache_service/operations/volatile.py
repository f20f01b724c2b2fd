"""Which chat turns can't be answered from what another turn was answered, nor from what was true an hour ago. Pure; tables.

Four kinds: a turn names a moment ("today", "latest"), is about the asker ("my account"), names an id ("order 4711-X"), or asks for
something to be done ("cancel", "pay"), which a stored "Done." would only pretend. The price of a word too many is a semantic hit less,
of a word too few an answer of yesterday; so the tables are broad. Languages: English, German, French, Spanish, Italian, Portuguese,
Dutch, Polish, Russian, Turkish, Arabic, Hindi, Chinese, Japanese, Korean, by their commonest words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

EDGE: Final = 4000
"""Characters looked at from the beginning and from the end: a longer turn holds a document, what is asked stands around it."""

MOMENTS: Final = {
    "en": "today, today's, tonight, tomorrow, yesterday, now, nowadays, currently, current, latest, newest, recent, recently, upcoming, "
    "forecast, weather, news, headlines, right now, at the moment, this morning, this afternoon, this evening, this week, this weekend, "
    "this month, this year, next week, last week, so far, up to date, stock price, share price, exchange rate, what time is it, "
    "what day is it, what is the time, what's the time, what is the date, what's the date",
    "de": "heute, heutige, heutigen, jetzt, gerade, derzeit, momentan, aktuell, aktuelle, aktuellen, aktueller, aktuelles, neueste, "
    "neuesten, neuester, neuestes, kürzlich, morgen, gestern, wetter, nachrichten, wie spät, wieviel uhr, wie viel uhr, aktienkurs, "
    "wechselkurs, diese woche, dieses jahr",
    "fr": "aujourd'hui, maintenant, actuel, actuelle, actuels, actuelles, actuellement, récent, récente, récents, récentes, récemment, "
    "demain, hier, météo, en ce moment, ce soir, ce matin, cette semaine, dernières nouvelles, dernière version, quelle heure, actualités",
    "es": "hoy, ahora, actual, actuales, actualmente, reciente, recientes, recientemente, mañana, ayer, esta noche, esta semana, "
    "último, última, últimos, últimas, clima, noticias, qué hora, que hora",
    "it": "oggi, adesso, ora, attuale, attuali, attualmente, recente, recenti, domani, ieri, stasera, meteo, notizie, ultime, ultima, "
    "ultimo, ultimi, che ore",
    "pt": "hoje, agora, atual, atuais, atualmente, recente, recentes, amanhã, ontem, notícias, última, último, últimas, últimos, "
    "previsão do tempo, que horas",
    "nl": "vandaag, nu, momenteel, actueel, actuele, huidige, nieuwste, laatste, onlangs, morgen, gisteren, vanavond, weerbericht, "
    "nieuws, hoe laat",
    "pl": "dziś, dzisiaj, teraz, obecnie, aktualny, aktualna, aktualne, najnowszy, najnowsza, najnowsze, jutro, wczoraj, pogoda, "
    "wiadomości, która godzina",
    "ru": "сегодня, сегодняшний, сейчас, теперь, завтра, вчера, последний, последняя, последние, последних, текущий, текущая, текущее, "
    "актуальный, актуальные, погода, погоду, новости, курс валют, который час, сколько времени",
    "tr": "bugün, şimdi, şu an, yarın, dün, güncel, son dakika, hava durumu, saat kaç, haberler",
}
"""Words and phrases, in scripts that put spaces between them."""

MOMENTS_INSIDE: Final = {
    "ar": "اليوم, الآن, غدا, غداً, أمس, حاليا, حالياً, الطقس, أحدث, آخر الأخبار",
    "hi": "आज, अभी, इस समय, वर्तमान, ताज़ा, ताजा, मौसम, समाचार",
    "zh": "今天, 今日, 今晚, 现在, 現在, 目前, 当前, 當前, 此刻, 最新, 最近, 明天, 昨天, 天气, 天氣, 新闻, 新聞, 几点, 幾點, 本周, 本週, 汇率, 股价",
    "ja": "今日, 今すぐ, 今の, 今は, いま, 現在, 最新, 最近, 明日, 昨日, 天気, ニュース, 何時, 今週",
    "ko": "오늘, 지금, 현재, 최신, 최근, 내일, 어제, 날씨, 뉴스, 몇 시",
}
"""Looked for anywhere in the text: no spaces, or endings that grow onto the word."""

MINE: Final = {
    "en": "my, our",
    "de": "mein, meine, meinen, meiner, meinem, meines, unser, unsere, unseren",
    "fr": "mon, ma, mes, notre, nos",
    "es": "mi, mis, nuestro, nuestra, nuestros, nuestras",
    "it": "mio, mia, miei, mie, nostro, nostra",
    "pt": "meu, minha, meus, minhas, nosso, nossa",
    "nl": "mijn, ons, onze",
    "pl": "mój, moje, moja, mojego, mojej, moim",
    "ru": "мой, моя, моё, мое, мои, моего, моей, моём, моем, мою, моих",
}
THINGS: Final = {
    "en": "account, accounts, order, orders, balance, balances, subscription, booking, bookings, reservation, reservations, invoice, invoices, "
    "bill, bills, payment, payments, card, appointment, appointments, calendar, schedule, inbox, emails, messages, cart, basket, delivery, "
    "shipment, package, parcel, ticket, tickets, refund, profile, settings, location, transactions, transaction, flight, flights, meeting, "
    "meetings, usage, data, plan, claim, policy, statement",
    "de": "konto, konten, bestellung, bestellungen, kontostand, guthaben, abo, abonnement, buchung, buchungen, reservierung, rechnung, "
    "rechnungen, zahlung, zahlungen, karte, termin, termine, kalender, warenkorb, lieferung, paket, ticket, erstattung, profil, "
    "einstellungen, flug, vertrag",
    "fr": "compte, comptes, commande, commandes, solde, abonnement, réservation, réservations, facture, factures, paiement, carte, "
    "rendez-vous, calendrier, panier, livraison, colis, billet, billets, remboursement, profil, vol, contrat",
    "es": "cuenta, cuentas, pedido, pedidos, saldo, suscripción, reserva, reservas, factura, facturas, pago, pagos, tarjeta, cita, citas, "
    "calendario, carrito, entrega, paquete, boleto, billete, reembolso, perfil, vuelo, contrato",
    "it": "conto, account, ordine, ordini, saldo, abbonamento, prenotazione, prenotazioni, fattura, fatture, pagamento, carta, appuntamento, "
    "calendario, carrello, consegna, pacco, biglietto, rimborso, profilo, volo, contratto",
    "pt": "conta, contas, pedido, pedidos, saldo, assinatura, reserva, reservas, fatura, faturas, pagamento, cartão, consulta, agenda, "
    "carrinho, entrega, pacote, encomenda, bilhete, reembolso, perfil, voo, contrato",
    "nl": "account, rekening, bestelling, bestellingen, saldo, abonnement, boeking, reservering, factuur, facturen, betaling, kaart, afspraak, "
    "agenda, winkelwagen, levering, pakket, ticket, terugbetaling, profiel, vlucht, contract",
    "pl": "konto, konta, koncie, zamówienie, zamówienia, saldo, subskrypcja, rezerwacja, rezerwację, faktura, faktury, płatność, karta, "
    "przesyłka, paczka, bilet, zwrot, profil, lot, umowa",
    "ru": "счёт, счет, счета, счёта, счету, аккаунт, аккаунта, заказ, заказа, заказы, баланс, подписка, подписку, подписки, бронь, "
    "бронирование, платёж, платеж, карта, карты, карту, посылка, посылку, билет, возврат, профиль, рейс, договор",
}
MINE_INSIDE: Final = {
    "ar": "حسابي, طلبي, رصيدي, اشتراكي, حجزي, فاتورتي",
    "hi": "मेरा खाता, मेरे खाते, मेरा ऑर्डर, मेरे ऑर्डर, मेरा बैलेंस",
    "tr": "hesabım, siparişim, bakiyem, aboneliğim, rezervasyonum, faturam",
    "zh": "我的账户, 我的帐户, 我的賬戶, 我的账号, 我的帳號, 我的订单, 我的訂單, 我的余额, 我的餘額, 我的快递, 我的包裹, 我的预订, 我的日程, 我的账单",
    "ja": "私のアカウント, 私の注文, 私の残高, 私の予約, 私の口座, 私の荷物, マイアカウント",
    "ko": "내 계정, 제 계정, 내 주문, 제 주문, 내 잔액, 내 예약, 제 예약, 내 계좌, 제 계좌",
}

HOW_TO: Final = (
    "how do i, how do you, how do we, how can i, how can we, how can you, how could i, how should i, how would i, how to, "
    "wie kann ich, wie kann man, wie lösche ich, comment puis-je, comment, cómo puedo, cómo, como puedo, come posso, como posso, hoe kan ik, "
    "jak mogę, jak, как мне, как"
)
"""Beginnings of a question that wants an instruction, the same for everybody, though it may say "my account"."""

REQUESTS: Final = (
    "please, kindly, can you, could you, would you, will you, i want to, i want you to, i would like to, i'd like to, i'd like you to, i need to, "
    "i need you to, go ahead and, yes, ok, okay, hi, hello, hey, now, then, just, also, and then, "
    "bitte, kannst du, können sie, ich möchte, ich will, ja, s'il te plaît, s'il vous plaît, veuillez, peux-tu, pouvez-vous, je veux, "
    "je voudrais, merci de, oui, por favor, puedes, puede, quiero, quisiera, sí, per favore, puoi, può, voglio, vorrei, sì, você pode, quero, "
    "gostaria de, sim, alsjeblieft, alstublieft, kun je, kunt u, ik wil, graag, proszę, chcę, tak, пожалуйста, можешь, хочу, да, lütfen, evet"
)
"""What may stand between the beginning of a clause and its verb."""

ACTIONS: Final = {
    "en": "cancel, transfer, delete, book, pay, buy, purchase, refund, subscribe, unsubscribe, reserve, schedule, reschedule, wire, withdraw, "
    "deposit, deactivate, activate, block, unblock, renew, terminate, approve, reject, revoke, uninstall, reboot, restart, unlock, deploy, send, "
    "confirm, go ahead, do it, turn on, turn off, switch on, switch off, shut down, check out, sign me up, place an order, place the order, "
    "order me, call me, remind me, set an alarm, set a timer, set a reminder, close my, reset my, change my, update my, upgrade my, downgrade my",
    "de": "storniere, stornieren, kündige, kündigen, lösche, löschen, überweise, überweisen, buche, buchen, bezahle, bezahlen, zahle, zahlen, "
    "kaufe, kaufen, bestelle, bestellen, reserviere, reservieren, sende, senden, schicke, schicken, sperre, sperren, erstatte, bestätige, "
    "bestätigen, erinnere mich",
    "fr": "annule, annulez, annuler, supprime, supprimez, supprimer, transfère, transférez, transférer, vire, virez, virer, réserve, réservez, "
    "réserver, paie, paye, payez, payer, achète, achetez, acheter, commande, commandez, commander, envoie, envoyez, envoyer, rembourse, "
    "remboursez, rembourser, résilie, résiliez, résilier, confirme, confirmez",
    "es": "cancela, cancele, cancelar, elimina, elimine, eliminar, borra, borre, borrar, transfiere, transfiera, transferir, reserva, reserve, "
    "reservar, paga, pague, pagar, compra, compre, comprar, envía, envíe, enviar, reembolsa, confirma, confirme",
    "it": "annulla, annullare, cancella, cancellare, elimina, eliminare, trasferisci, trasferire, prenota, prenotare, paga, pagare, compra, "
    "comprare, acquista, invia, inviare, disdici, rimborsa, conferma",
    "pt": "cancele, cancela, cancelar, apague, apagar, exclua, excluir, transfira, transferir, reserve, reservar, pague, pagar, compre, comprar, "
    "envie, enviar, reembolse, confirme",
    "nl": "annuleer, annuleren, verwijder, verwijderen, boek, boeken, betaal, betalen, koop, kopen, bestel, bestellen, reserveer, reserveren, "
    "verstuur, bevestig, zeg op",
    "pl": "anuluj, anulować, usuń, usunąć, przelej, przelać, zarezerwuj, zapłać, zapłacić, kup, kupić, zamów, zamówić, wyślij, potwierdź, zwróć",
    "ru": "отмени, отмените, отменить, удали, удалите, удалить, закажи, закажите, заказать, оплати, оплатите, оплатить, купи, купите, купить, "
    "забронируй, забронируйте, забронировать, отправь, отправьте, переведи деньги, переведите деньги, подтверди, подтвердите, верни, верните",
    "tr": "iptal et, iptal edin, sil, silin, satın al, rezervasyon yap, öde, ödeyin, gönder, onayla",
}
"""What is asked to be done, at the beginning of a clause."""

ACTIONS_BEGIN: Final = {
    "zh": "取消, 删除, 刪除, 转账, 轉帳, 汇款, 预订, 預訂, 预定, 预约, 預約, 支付, 付款, 购买, 購買, 退款, 退订, 下单, 确认, 確認, 发送, 发邮件",
    "ar": "ألغ, إلغاء, احذف, حوّل, حول مبلغ, احجز, ادفع, اشتر, أرسل, أكد",
}
REQUESTS_BEGIN: Final = (
    "请, 請, 帮我, 幫我, 麻烦, 麻煩, 你能, 能不能, 可以, 我要, 我想, 把, 将, من فضلك, أريد, ارجو, أرجو"
)
ACTIONS_INSIDE: Final = {
    "ja": "キャンセルして, 取り消して, 削除して, 予約して, 支払って, 購入して, 買って, 振り込んで, 送金して, 注文して, 解約して, 送って, 返金して",
    "ko": "취소해, 삭제해, 예약해, 결제해, 송금해, 이체해, 주문해, 구매해, 환불해, 해지해, 보내줘, 보내 줘",
    "hi": "रद्द करें, रद्द कर, हटा दो, हटाएं, बुक करें, बुक कर, भुगतान करें, भुगतान कर, भेज दो, भेजें",
}

_NUMBERED: Final = (
    "order, ticket, invoice, booking, reservation, tracking, case, customer, account, confirmation, transaction, shipment, policy, claim, iban, "
    "bestellung, bestellnummer, rechnung, auftrag, buchung, kundennummer, sendung, commande, facture, réservation, colis, pedido, factura, "
    "reserva, envío, ordine, fattura, prenotazione, fatura, encomenda, bestelling, factuur, boeking, zamówienie, faktura, заказ, заказа, счёт, "
    "бронь, посылка, 订单, 訂單, 单号, 注文, 주문"
)


def why_volatile(turn: str) -> str:
    """Why the turn is exact-only and its answer short-lived, as a word for `detail`; "" if it is neither. Linear in its length."""
    text = turn if len(turn) <= 2 * EDGE else f"{turn[:EDGE]}\n{turn[-EDGE:]}"
    text = unicodedata.normalize("NFC", text).replace("’", "'").lower()
    text = _SPACE.sub(
        lambda run: "\n" if "\n" in run.group() else " ", text
    )  # one each, so that no pattern tries runs again and again
    for reason, pattern in _PATTERNS:
        if pattern.search(text):
            return reason
    if _MINE.search(text) and not _HOW_TO.match(text):
        return "about the asker"
    return ""


def _words(tables: Iterable[str]) -> str:
    """An alternative of whole words and phrases, the longest first."""
    words = {word.strip() for table in tables for word in table.split(",")} - {""}
    return "|".join(re.escape(word).replace(r"\ ", r"\s") for word in sorted(words, key=lambda w: (-len(w), w)))


def _mine() -> str:
    """A possessive of a language, up to two words, and a thing of the same language: "my last order"."""
    pairs = (f"(?:{_words([MINE[name]])})\\s(?:[\\w-]{{1,30}}\\s){{0,2}}?(?:{_words([THINGS[name]])})" for name in MINE)
    return f"(?<!\\w)(?:{'|'.join(pairs)})(?!\\w)|{_words(MINE_INSIDE.values())}"


_SPACE: Final = re.compile(r"\s+")
_CLAUSE: Final = r"(?:^|[.!?;:\n。！？；]|(?<!\w)(?:please|bitte|por favor|per favore)(?!\w))[\s,¡¿\"'-]{0,6}"
_MOMENT: Final = f"(?<!\\w)(?:{_words(MOMENTS.values())})(?!\\w)|{_words(MOMENTS_INSIDE.values())}"
_ACTION: Final = (
    f"{_CLAUSE}(?:(?:{_words([REQUESTS])})(?!\\w)[\\s,]{{0,3}}){{0,4}}(?:{_words(ACTIONS.values())})(?!\\w)"
    f"|{_CLAUSE}(?:(?:{_words([REQUESTS_BEGIN])})[\\s,，]{{0,3}}){{0,3}}(?:{_words(ACTIONS_BEGIN.values())})"
    f"|{_words(ACTIONS_INSIDE.values())}"
)
_ID: Final = (
    f"(?:{_words([_NUMBERED])})\\s?(?:no\\.?|nr\\.?|number|id|号|號|番号|번호)?\\s?[:：#№]?\\s?(?=[a-z-]{{0,8}}\\d)[a-z\\d-]{{4,40}}(?!\\w)"
    r"|(?<!\w)#\d{4,}(?!\w)"
    r"|(?<![\w-])[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}(?![\w-])"
)
_PATTERNS: Final = (
    ("asks for something to be done", re.compile(_ACTION)),
    ("names an id", re.compile(_ID)),
    ("names a moment", re.compile(_MOMENT)),
)
_MINE: Final = re.compile(_mine())
_HOW_TO: Final = re.compile(rf"[\s¿\"']{{0,6}}(?:{_words([HOW_TO])})(?!\w)")
