"""Tokenize text into search terms: stems without accents, whole numbers, speakers by their number."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from chat.llm.base import Transcript
from chat.llm.text import UNSPACED, detect_language, stop_words

# Scripts indexed as character bigrams; Korean too, whose particles are attached to the words.
_BIGRAM_RUN = re.compile(f"[{UNSPACED}\uac00-\ud7a3]+")
_HIRAGANA = re.compile(r"[\u3041-\u3096]+")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
# 1,250 or 1.250 or 1'250. All repetitions are bounded: on megabytes of hostile text, others take quadratic time.
_GROUPED_NUMBER = re.compile(r"(?<![\d.,])\d{1,3}(?:[.,'’\u00a0\u202f]\d{3}){1,6}(?![.,]?\d)")
_PIECES = re.compile(rf"{_GROUPED_NUMBER.pattern}|\d{{1,20}}[.,]\d{{1,20}}|[^\W_]+")
_LEADING_NUMBER = re.compile(r"(\d+)[^\W\d]+")
SMALL_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
SPEAKER_LABEL = re.compile(
    r"\b(?:speaker|sprecher(?:in)?|locut(?:eur|rice)|interlocut(?:eur|or)|hablante|orador|falante"
    rf"|parlante|spreker|talare|mówca|спикер|话者|話者|説話者|说话人)[\s_#-]{{0,4}}0{{0,4}}(\d{{1,4}}(?!\d)|(?:{'|'.join(SMALL_NUMBERS)})\b)"
)
# bm25s lists only function words ("what", "because"); longer stop-word lists also drop "ask" and "system".
_BM25S_STOP_WORDS = {
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
# Words of questions about any conversation: "What did they say about the budget?"
_QUESTION_WORDS = {
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
_N_SAMPLED_PASSAGES = 400


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802


@dataclass(frozen=True)
class Terms:
    """The search terms of a text, in order, duplicates included."""

    content: tuple[str, ...]
    stop_words: tuple[str, ...]
    """The terms of stop words, which nearly every sentence has."""


class Tokenizer:
    """Turns text of one language into terms. It caches the words it has seen: use one instance per transcript."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._stemmer = _stemmer(language)
        stop_words = _stop_words(language)
        self._stop_words = stop_words | {fold(word) for word in stop_words}
        self._cache: dict[str, Terms] = {}

    def terms(self, text: str) -> Terms:
        rest = text.casefold()
        content = [_speaker_term(number) for number in SPEAKER_LABEL.findall(rest)]
        stop_words: list[str] = []
        for piece in _PIECES.findall(SPEAKER_LABEL.sub(" ", rest)):
            terms = self._cache.get(piece)
            if terms is None:
                terms = self._cache[piece] = self._piece_terms(piece)
            content += terms.content
            stop_words += terms.stop_words
        return Terms(tuple(content), tuple(stop_words))

    def _piece_terms(self, piece: str) -> Terms:
        if not piece.isalnum():  # a number with separators: 1,250 or 2.5
            is_grouped = _GROUPED_NUMBER.fullmatch(piece)
            return Terms((re.sub(r"\D", "", piece) if is_grouped else piece.replace(",", "."),), ())
        terms = dict.fromkeys(self._stems(piece))
        if self._is_stop_word(piece):
            return Terms((), tuple(terms))
        stop_words = tuple(
            term for term in terms if _HIRAGANA.fullmatch(term) or self._is_stop_word(term)
        )
        return Terms(tuple(term for term in terms if term not in stop_words), stop_words)

    def _is_stop_word(self, word: str) -> bool:
        return word in self._stop_words or (len(word) == 1 and word.isascii() and word.isalpha())

    def _stems(self, word: str) -> Iterable[str]:
        """Yield the bigrams of unspaced scripts, and the stems of the rest."""
        for run in _BIGRAM_RUN.findall(word):
            yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)))
        for rest in _BIGRAM_RUN.sub(" ", word).split():
            # Both forms, so that a question typed without accents shares the stem of the folded word.
            yield fold(self._stem(rest))
            yield self._stem(fold(rest))
            if number := _LEADING_NUMBER.fullmatch(rest):
                yield number[1]  # 10th, 15k

    def _stem(self, word: str) -> str:
        return self._stemmer.stemWord(word) if self._stemmer else word


def tokenizer_for(transcript: Transcript) -> Tokenizer:
    return Tokenizer(transcript_language(transcript))


def transcript_language(transcript: Transcript) -> str:
    """The transcript's language (ISO 639-1), detected if it is not set; empty if it is unclear."""
    if transcript.language:
        return transcript.language.casefold().replace("_", "-").split("-")[0]
    step = max(1, len(transcript.passages) // _N_SAMPLED_PASSAGES)
    return detect_language("\n".join(passage.text for passage in transcript.passages[::step]))


def fold(text: str) -> str:
    """Case-fold `text` and remove accents."""
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

    if _STEMMERS[language] not in _stemmer_algorithms():
        return None
    stemmer: _Stemmer = Stemmer.Stemmer(_STEMMERS[language])
    return stemmer


@cache
def _stemmer_algorithms() -> frozenset[str]:
    import Stemmer

    return frozenset(Stemmer.algorithms())


@cache
def _stop_words(language: str) -> frozenset[str]:
    if language not in _BM25S_STOP_WORDS:
        return stop_words(language)
    question_words = _QUESTION_WORDS.get(language, "").split()
    from bm25s import stopwords

    # _PIECES splits "don't" and "l'heure" at the apostrophe.
    function_words = getattr(stopwords, f"STOPWORDS_{_BM25S_STOP_WORDS[language]}")
    return frozenset(
        part
        for word in (*function_words, *question_words)
        for part in (word, *word.split("'"))
        if part
    )
