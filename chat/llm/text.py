"""Text as people and language models count and show it."""

import math
import re
import unicodedata
from collections import Counter
from functools import cache

from chat.llm.base import Passage

# Scripts written without blanks between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = (
    r"\u0e01-\u0e30\u0e40-\u0e46\u0e81-\u0eb0\u0ec0-\u0ec6\u1000-\u102a\u1780-\u17b3"
    r"\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
_WORD_PIECE = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_TOKENS = re.compile(
    rf"(?P<latin>[A-Za-z]+)|(?P<unspaced>[{UNSPACED}])|(?P<letters>[^\W\d_]+)|(?P<blank>[^\S\n]+)"
    r"|(?P<ascii>[\x00-\x7f])|(?P<other>.)",
    re.DOTALL,
)
_ASCII_LETTERS = re.compile("[A-Za-z]+")
_ASCII_OTHERS = re.compile(r"[^A-Za-z\s]|\n")
_SENTENCE_END = re.compile(r"""(?<![.!?…])[.!?…]++["'”’»)\]]*+(?=\s)|[。！？｡]+[」』”’）]*|\n+""")
_ABBREVIATED = (
    "dr mr mrs ms prof st no vs etc e.g i.e approx inc ltd jr sr fig bzw ca usw z.b d.h u.a nr str"
    " ing evtl ggf inkl mme mlle p.ex sra srta ud uds art av cf hr fr"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs", "Cs"}
_JOINERS = "\u200c\u200d"  # Persian and Indic words, and emoji, need them
# Languages that their script alone gives away; kana before Han, since Japanese has both.
_SCRIPTS = {
    "ja": re.compile(r"[\u3041-\u3096\u30a1-\u30fa]"),
    "ko": re.compile(r"[\uac00-\ud7a3]"),
    "zh": re.compile(r"[\u4e00-\u9fff]"),
    "th": re.compile(r"[\u0e01-\u0e5b]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
    "he": re.compile(r"[\u05d0-\u05ea]"),
    "hy": re.compile(r"[\u0531-\u0587]"),
    "bn": re.compile(r"[\u0980-\u09ff]"),
    "gu": re.compile(r"[\u0a80-\u0aff]"),
}
_SAMPLE_CHARACTERS = 20_000
_LEAST_STOP_WORDS = 2
_CLEARLY_MORE = 1.15
# Beyond these, stop-word lists are small or full of other languages' words, and win by accident.
_LANGUAGES = "ar bg ca cs da de en es et fa fi fr hi hr hu id it lt lv nl no pl pt ro ru sk sl sv tr uk ur vi"


def count_words(text: str) -> int:
    """Words between white space; each letter of a script without blanks is a word of its own."""
    return sum(_words_in(chunk) for chunk in text.split())


def count_tokens(text: str) -> int:
    """How many tokens a language model makes of `text`: an estimate, rather too high than too low."""
    if text.isascii() and "        " not in text:  # the same, several times faster
        letters = _ASCII_LETTERS.findall(text)
        return sum([(len(run) + 3) // 4 for run in letters]) + len(_ASCII_OTHERS.findall(text))
    total = 0
    for match in _TOKENS.finditer(text):
        length = match.end() - match.start()
        match match.lastgroup:
            case "latin":
                total += -(-length // 4)
            case "letters":  # accents and other alphabets are split finer
                total += -(-length // 2)
            case "unspaced":
                total += 2
            case "blank":
                total += length // 8  # a single one belongs to the word after it
            case "other":
                total += len(match.group().encode("utf-8", "replace"))
            case _:
                total += 1
    return total


def cut_to_words(text: str, max_words: int) -> str:
    """At most so many words of `text`: whole sentences, or the beginning of the first and "…"."""
    if count_words(text) <= max_words:
        return text
    ends = _sentence_ends(text)
    kept = _longest(text, ends, max_words)
    if kept:
        return kept
    kept = _longest(text, [match.end() for match in _WORD_PIECE.finditer(text)], max_words)
    return kept.rstrip(" ,;:-–—.") + "…" if kept else ""


def cut_to_tokens(text: str, max_tokens: int) -> str:
    """At most so many tokens (count_tokens) of `text`, cut as cut_to_words does."""
    if count_tokens(text) <= max_tokens:
        return text
    fewest, most = 0, min(count_words(text), max(0, max_tokens))
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if count_tokens(cut_to_words(text, middle)) <= max_tokens:
            fewest = middle
        else:
            most = middle - 1
    return cut_to_words(text, fewest)


def sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped, without empty ones. A line's end ends a sentence too."""
    start, found = 0, []
    for end in [*_sentence_ends(text), len(text)]:
        sentence = text[start:end].strip()
        start = end
        if sentence:
            found.append(sentence)
    return found


def one_line(text: str) -> str:
    """`text` with every run of white space and control characters as a single blank."""
    if not text.isprintable():
        text = "".join(
            " " if unicodedata.category(c) in _INVISIBLE and c not in _JOINERS else c for c in text
        )
    return " ".join(text.split())


def well_formed(text: str) -> str:
    """Without what JSON lets through and neither a database nor a provider takes: halves of surrogates, NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def clock(seconds: float) -> str:
    """`seconds` as 00:01:12, rounded down."""
    whole = max(0, math.floor(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def line(passage: Passage) -> str:
    """`[00:01:12] SPEAKER_2: text`, without what the passage does not tell."""
    time = f"[{clock(passage.start)}] " if passage.start is not None else ""
    speaker = one_line(passage.speaker or "")
    return (
        f"{time}{speaker}: {one_line(passage.text)}" if speaker else time + one_line(passage.text)
    )


def language_of(text: str) -> str:
    """ISO 639-1 of the language whose script or stop words `text` has; empty when they do not tell."""
    sample = text[:_SAMPLE_CHARACTERS].casefold()
    letters = sum(map(str.isalpha, sample))
    for language, script in _SCRIPTS.items():
        # A third of the letters: names and loan words come in other scripts.
        if letters and len(script.findall(sample)) * (10 if language == "ja" else 3) > letters:
            return language
    scores: dict[str, float] = {}
    found: Counter[str] = Counter()
    for word in re.findall(r"[^\W\d_]+", sample):
        owners = _languages_by_stop_word().get(word, ())
        for language in owners:
            scores[language] = scores.get(language, 0.0) + 1 / len(owners)
            found[language] += 1
    best = sorted(scores.items(), key=lambda each: (-each[1], each[0]))[:2]
    if not best or found[best[0][0]] < _LEAST_STOP_WORDS:
        return ""
    if len(best) == 2 and best[0][1] < _CLEARLY_MORE * best[1][1]:
        return ""
    return best[0][0]


@cache
def stop_words(language: str) -> frozenset[str]:
    """Case-folded; none for a language without a list."""
    import stopwordsiso

    return frozenset(word.casefold() for word in stopwordsiso.stopwords(language))


@cache
def _languages_by_stop_word() -> dict[str, tuple[str, ...]]:
    owners: dict[str, list[str]] = {}
    for language in _LANGUAGES.split():
        for word in stop_words(language):
            owners.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in owners.items()}


def _words_in(chunk: str) -> int:
    unspaced = len(_UNSPACED_LETTER.findall(chunk))
    if not unspaced:
        return 1
    others = _UNSPACED_LETTER.sub(" ", chunk).split()
    return unspaced + sum(1 for run in others if any(map(str.isalnum, run)))


def _longest(text: str, ends: list[int], max_words: int) -> str:
    """The longest beginning of `text` that ends at one of `ends` and has at most `max_words`."""
    fewest, most = 0, len(ends)
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if count_words(text[: ends[middle - 1]]) <= max_words:
            fewest = middle
        else:
            most = middle - 1
    return text[: ends[fewest - 1]].strip() if fewest else ""


def _sentence_ends(text: str) -> list[int]:
    return [match.end() for match in _SENTENCE_END.finditer(text) if _is_end(text, match)]


def _is_end(text: str, match: re.Match[str]) -> bool:
    if match.group() != ".":
        return True
    before = text[max(0, match.start() - 12) : match.start()].split()
    word = before[-1].lstrip("([\"'“‘«") if before else ""
    # "3. Mai", "J. Smith", "1. item", "e.g. this" go on; so does what continues in small letters.
    if re.fullmatch(r"\d{1,2}|[^\W\d_]", word) or word.casefold() in _ABBREVIATIONS:
        return False
    after = text[match.end() : match.end() + 40].lstrip()
    return not after[:1].islower()
