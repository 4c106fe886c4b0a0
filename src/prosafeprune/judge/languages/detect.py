"""Which language an answer is in, by its script and its commonest words."""

from __future__ import annotations

import re

from prosafeprune.judge.brokenness import CODE_BLOCK
from prosafeprune.judge.languages.speech_acts import ACTS

SUPPORTED = tuple(ACTS)
"""Languages whose judgements were measured (docs/judges.md); the others come out undetermined."""
UNKNOWN = "another language"

COMMON_WORDS = {
    "en": "the of and to is in that it for you are with this not be on have can i as or an your from was but we they by at",
    "fr": "le la les des du de est et un une vous je ne pas que qui pour dans ce en sur au aux avec sont votre il elle c'est mais",
    "de": "der die das und ist nicht ich sie ein eine zu den dem mit für von auf es im auch wie bei kann oder wird du sich dass",
    "es": "el la los las de que y en un una no es por para con se su lo del al como más pero puedo este esta tu si qué está",
    "it": "il la le gli di che e un una non è per con si del della in sono come più ma anche questo ti puoi nel alla mi lo al",
    "pt": "o a os as de que e em um uma não é por para com se do da no na como mais mas você isso ao pelo são está seu dos",
    "nl": "de het een en van is niet ik je dat in op te voor met zijn aan er maar ook als of kan om bij dit u we naar deze",
    "sv": "och att det är jag inte en ett som för på med kan du av den till har om men så vi detta också",
    "da": "og at det er jeg ikke en et som for på med kan du af den til har om men så vi dette også kunne skal",
    "pl": "i w nie na się z do to że jest o jak ale po za od mogę czy dla przez tego być są może",
    "cs": "a se v na je že to s z do o jak ale by pro jsem není mohu nebo jako tak aby který",
    "ro": "și nu în pe este cu că să pentru care sunt mai din dar ca pot acest dacă vă",
    "hu": "a az és nem hogy is egy ez van de meg csak vagy mint kell ha lehet nagyon nincs el",
    "tr": "ve bir bu için de da ile ne değil çok ama daha olarak gibi var yok bana size olan veya ben",
    "vi": "và của là không tôi có cho một được các với những này trong bạn thể để người đã về",
    "id": "yang dan di tidak untuk dengan ini itu dari saya anda dapat adalah dalam pada akan atau bisa ke juga",
    "fi": "ja on ei se että en voi mutta myös hän kuin tai olla jos ovat tämä sitä niin oli minä",
    "tl": "ang ng sa na ay mga ako hindi ko po para ito kung at mo ka siya upang maaaring isang",
    "ca": "els les i és amb al com més però puc aquest aquesta això dels als pot ser són ho",
    "sw": "ya na wa kwa ni katika la za kuwa hii au hiyo si kama wewe mimi siwezi yako lakini",
}
WORDS = {language: frozenset(words.split()) for language, words in COMMON_WORDS.items()}
LETTERS_OF_OTHERS = {
    "Latin": re.compile(r"[ąćęłńśźżđřěůőűğışțșăơưạảấầậắằặẹẻẽếềệịọỏốồộớờợụủứừựỳỷỹħġċāēīūļņķģ]", re.I),
    "Cyrillic": re.compile(r"[іїєґўјљњћђџқңғүұһәө]", re.I),
    "Arabic": re.compile(r"[پچژگڑٹڈےںہھۀیک]"),
}
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
KANA = re.compile(r"[\u3040-\u30ff]")
HAN = re.compile(r"[\u3400-\u9fff]")
SCRIPTS = {
    "Latin": re.compile(r"[A-Za-zÀ-ɏḀ-ỿ]"),
    "Cyrillic": re.compile(r"[Ѐ-ӿ]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "East Asian": re.compile(r"[\u3040-\u30ff\u3400-\u9fff]"),
    "other": re.compile(
        r"[\u0370-\u03ff\u0530-\u05ff\u0900-\u109f\u10a0-\u10ff\u1200-\u137f\u1780-\u17ff\uac00-\ud7af]"
    ),
}
SHARE_OF_COMMON_WORDS = 0.15
"""At least, among the words of running text; code and lists of names have fewer."""
SAMPLE = 600
"""Characters that are looked at."""


def language_of(answer: str) -> str:
    """Return the code of a supported language, or ``UNKNOWN``; text too short to tell, numbers and code count as English."""
    text = (CODE_BLOCK.sub(" ", answer).strip() or answer)[:SAMPLE]
    if text.isascii():
        return _latin(text)
    counts = {name: len(script.findall(text)) for name, script in SCRIPTS.items()}
    counts["East Asian"] *= 3  # An ideograph carries about as much as a word's beginning.
    script = max(counts, key=lambda name: counts[name])
    if not counts[script] or script == "Latin":
        return _latin(text)
    if script == "East Asian":
        return "ja" if 12 * len(KANA.findall(text)) > len(HAN.findall(text)) else "zh"
    if script == "other" or LETTERS_OF_OTHERS[script].search(text):
        return UNKNOWN
    return "ru" if script == "Cyrillic" else "ar"


def _latin(text: str) -> str:
    words = [word.lower().replace("’", "'") for word in WORD.findall(text)]
    hits = {language: sum(word in common for word in words) for language, common in WORDS.items()}
    best = max(SUPPORTED, key=lambda language: hits.get(language, -1))
    others = {language: count for language, count in hits.items() if language not in SUPPORTED}
    rival = max(others, key=lambda language: others[language])
    margin = 1.0 if LETTERS_OF_OTHERS["Latin"].search(text) else 1.3
    if others[rival] >= max(2, SHARE_OF_COMMON_WORDS * len(words)) and others[rival] > margin * hits[best]:
        return UNKNOWN
    if hits[best] < 0.1 * len(words):
        return "en" if text.isascii() else UNKNOWN
    return "en" if hits["en"] == hits[best] else best
