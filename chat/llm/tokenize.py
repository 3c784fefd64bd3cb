"""A text's words as they are searched for: stems without accents, numbers whole, speakers by their number."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from chat.llm.base import Transcript
from chat.llm.text import UNSPACED, language_of, stop_words

_PAIRED = re.compile(f"[{UNSPACED}\uac00-\ud7a3]+")  # Korean glues its particles to the words
_HIRAGANA = re.compile(r"[\u3041-\u3096]+")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
# 1,250 or 1.250 or 1'250. Bounded, as everything here that is searched for in megabytes of anything.
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:[.,'’\u00a0\u202f]\d{3}){1,6}(?![.,]?\d)")
_PIECES = re.compile(rf"{_GROUPED.pattern}|\d{{1,20}}[.,]\d{{1,20}}|[^\W_]+")
_LEADING_NUMBER = re.compile(r"(\d+)[^\W\d]+")
SMALL_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
SPEAKER_LABEL = re.compile(
    r"\b(?:speaker|sprecher(?:in)?|locut(?:eur|rice)|interlocut(?:eur|or)|hablante|orador|falante"
    rf"|parlante|spreker|talare|mówca|спикер|话者|話者|説話者|说话人)[\s_#-]{{0,4}}0{{0,4}}(\d{{1,4}}(?!\d)|(?:{'|'.join(SMALL_NUMBERS)})\b)"
)
# bm25s has the function words alone of these ("what", "because"); longer lists take "ask" and "system" for noise.
_FUNCTION_WORDS = {
    "da": "DANISH",
    "de": "GERMAN",
    "en": "EN_PLUS",
    "es": "SPANISH",
    "fr": "FRENCH",
    "it": "ITALIAN",
    "nl": "DUTCH",
    "no": "NORWEGIAN",
    "pt": "PORTUGUESE",
    "ru": "RUSSIAN",
    "sv": "SWEDISH",
    "tr": "TURKISH",
}
# What questions about any talk are made of: "What did they say about the budget?"
_ASKING = {
    "de": "sagen sagt sagte sagten gesagt sprechen spricht sprach gesprochen erwähnt passiert",
    "en": (
        "say says said saying tell tells told talk talks talked talking mention mentions mentioned discuss"
        " discussed happen happens happened anything something everything anyone anybody somebody"
    ),
    "es": "dice dicen dijo dijeron dicho habla hablan habló hablaron mencionó",
    "fr": "dit disent parle parlent parlé mentionné passé",
}
_STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "nn": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "pl": "polish",
    "cs": "czech",
    "fa": "persian",
    "yi": "yiddish",
    "eo": "esperanto",
}
_SAMPLED_PASSAGES = 400


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802


@dataclass(frozen=True)
class Terms:
    content: tuple[str, ...]
    """In order, as often as they occur."""
    common: tuple[str, ...]
    """Those of stop words: what nearly every sentence has."""


class Words:
    """How words of one language become terms. It remembers what it has seen: use one for a transcript."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._stemmer = _stemmer(language)
        common = _function_words(language)
        self._stop_words = common | {fold(word) for word in common}
        self._seen: dict[str, Terms] = {}

    def terms(self, text: str) -> Terms:
        rest = text.casefold()
        content = [_speaker_term(number) for number in SPEAKER_LABEL.findall(rest)]
        common: list[str] = []
        for piece in _PIECES.findall(SPEAKER_LABEL.sub(" ", rest)):
            terms = self._seen.get(piece)
            if terms is None:
                terms = self._seen[piece] = self._of(piece)
            content += terms.content
            common += terms.common
        return Terms(tuple(content), tuple(common))

    def _of(self, piece: str) -> Terms:
        if not piece.isalnum():  # separators: 1,250 or 2.5
            is_grouped = _GROUPED.fullmatch(piece)
            return Terms((re.sub(r"\D", "", piece) if is_grouped else piece.replace(",", "."),), ())
        made = dict.fromkeys(self._made_of(piece))
        if self._is_common(piece):
            return Terms((), tuple(made))
        common = tuple(term for term in made if _HIRAGANA.fullmatch(term) or self._is_common(term))
        return Terms(tuple(term for term in made if term not in common), common)

    def _is_common(self, word: str) -> bool:
        return word in self._stop_words or (len(word) == 1 and word.isascii() and word.isalpha())

    def _made_of(self, word: str) -> Iterable[str]:
        for run in _PAIRED.findall(word):
            yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)))
        for rest in _PAIRED.sub(" ", word).split():
            # Whoever types without accents gets the stem of the bare word, which both have.
            yield fold(self._stem(rest))
            yield self._stem(fold(rest))
            if number := _LEADING_NUMBER.fullmatch(rest):
                yield number[1]  # 10th, 15k

    def _stem(self, word: str) -> str:
        return self._stemmer.stemWord(word) if self._stemmer else word


def words_for(transcript: Transcript) -> Words:
    return Words(language_for(transcript))


def language_for(transcript: Transcript) -> str:
    """ISO 639-1: what the transcript says, else what its words look like; empty when they do not tell."""
    if transcript.language:
        return transcript.language.casefold().replace("_", "-").split("-")[0]
    step = max(1, len(transcript.passages) // _SAMPLED_PASSAGES)
    return language_of("\n".join(passage.text for passage in transcript.passages[::step]))


def fold(text: str) -> str:
    """Case-folded, and without accents."""
    folded = text.casefold()
    if folded.isascii():
        return folded
    bare = _ACCENTS.sub("", unicodedata.normalize("NFD", folded))
    return unicodedata.normalize("NFC", bare)


def _speaker_term(number: str) -> str:
    value = SMALL_NUMBERS.index(number) + 1 if number in SMALL_NUMBERS else int(number)
    return f"speaker#{value}"


def _stemmer(language: str) -> _Stemmer | None:
    if language not in _STEMMERS:
        return None
    import Stemmer

    if _STEMMERS[language] not in _algorithms():
        return None
    stemmer: _Stemmer = Stemmer.Stemmer(_STEMMERS[language])
    return stemmer


@cache
def _algorithms() -> frozenset[str]:
    import Stemmer

    return frozenset(Stemmer.algorithms())


@cache
def _function_words(language: str) -> frozenset[str]:
    if language not in _FUNCTION_WORDS:
        return stop_words(language)
    asking = _ASKING.get(language, "").split()
    from bm25s import stopwords

    # "don't" and "l'heure" are two words here.
    found = getattr(stopwords, f"STOPWORDS_{_FUNCTION_WORDS[language]}")
    return frozenset(
        part for word in (*found, *asking) for part in (word, *word.split("'")) if part
    )
