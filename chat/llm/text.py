"""Count, truncate, split and format text, for people and for language models."""

import math
import re
import unicodedata
from collections import Counter
from functools import cache

from chat.llm.base import Passage

# Scripts written without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = (
    r"\u0e01-\u0e30\u0e40-\u0e46\u0e81-\u0eb0\u0ec0-\u0ec6\u1000-\u102a\u1780-\u17b3"
    r"\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
_WORD_PIECE = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_TOKENS = re.compile(
    rf"(?P<latin>[A-Za-z]+)|(?P<unspaced>[{UNSPACED}])|(?P<letters>[^\W\d_]+)|(?P<space>[^\S\n]+)"
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
# Languages identified by their script alone; kana before Han, since Japanese has both.
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
_MIN_STOP_WORDS = 2
_MIN_SCORE_RATIO = 1.15
"""Of the best language's score to the second best."""
# The stop-word lists of other languages are small or contain words of these, and would match by accident.
_LANGUAGES = "ar bg ca cs da de en es et fa fi fr hi hr hu id it lt lv nl no pl pt ro ru sk sl sv tr uk ur vi"


def count_words(text: str) -> int:
    """Count the words between white space; each letter of a script without spaces counts as a word."""
    return sum(_words_in(chunk) for chunk in text.split())


def count_tokens(text: str) -> int:
    """Estimate how many tokens a language model splits `text` into; rather too high than too low."""
    if text.isascii() and "        " not in text:  # fast path, same result
        letters = _ASCII_LETTERS.findall(text)
        return sum([(len(run) + 3) // 4 for run in letters]) + len(_ASCII_OTHERS.findall(text))
    total = 0
    for match in _TOKENS.finditer(text):
        length = match.end() - match.start()
        match match.lastgroup:
            case "latin":
                total += -(-length // 4)
            case "letters":  # tokenizers split accented and non-Latin text finer
                total += -(-length // 2)
            case "unspaced":
                total += 2
            case "space":
                total += length // 8  # a single space belongs to the next word's token
            case "other":
                total += len(match.group().encode("utf-8", "replace"))
            case _:
                total += 1
    return total


def cut_to_words(text: str, max_words: int) -> str:
    """Truncate `text` to `max_words` words: whole sentences, or the beginning of the first one and "…"."""
    if count_words(text) <= max_words:
        return text
    kept = _longest_prefix(text, _sentence_ends(text), max_words)
    if kept:
        return kept
    kept = _longest_prefix(text, [match.end() for match in _WORD_PIECE.finditer(text)], max_words)
    return kept.rstrip(" ,;:-–—.") + "…" if kept else ""


def cut_to_tokens(text: str, max_tokens: int) -> str:
    """Truncate `text` to `max_tokens` tokens (see count_tokens), as cut_to_words does."""
    if count_tokens(text) <= max_tokens:
        return text
    low, high = 0, min(count_words(text), max(0, max_tokens))
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(cut_to_words(text, middle)) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    return cut_to_words(text, low)


def sentences(text: str) -> list[str]:
    """Split `text` into sentences, stripped and not empty. The end of a line ends a sentence too."""
    start, found = 0, []
    for end in [*_sentence_ends(text), len(text)]:
        sentence = text[start:end].strip()
        start = end
        if sentence:
            found.append(sentence)
    return found


def one_line(text: str) -> str:
    """Replace every run of white space and control characters by a single space."""
    if not text.isprintable():
        text = "".join(
            " " if unicodedata.category(c) in _INVISIBLE and c not in _JOINERS else c for c in text
        )
    return " ".join(text.split())


def well_formed(text: str) -> str:
    """Remove NUL and lone surrogates: JSON allows them, databases and providers do not."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def clock(seconds: float) -> str:
    """Format `seconds` as 00:01:12, rounded down."""
    whole = max(0, math.floor(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def line(passage: Passage) -> str:
    """Format a passage as `[00:01:12] SPEAKER_2: text`, without a time or speaker that it lacks."""
    time = f"[{clock(passage.start)}] " if passage.start is not None else ""
    speaker = one_line(passage.speaker or "")
    return (
        f"{time}{speaker}: {one_line(passage.text)}" if speaker else time + one_line(passage.text)
    )


def detect_language(text: str) -> str:
    """Detect the language by script or stop words. Returns ISO 639-1; empty if it is unclear."""
    sample = text[:_SAMPLE_CHARACTERS].casefold()
    letters = sum(map(str.isalpha, sample))
    for language, script in _SCRIPTS.items():
        # A third of the letters: names and loan words come in other scripts.
        if letters and len(script.findall(sample)) * (10 if language == "ja" else 3) > letters:
            return language
    scores: dict[str, float] = {}
    n_found: Counter[str] = Counter()
    for word in re.findall(r"[^\W\d_]+", sample):
        owners = _languages_by_stop_word().get(word, ())
        for language in owners:
            scores[language] = scores.get(language, 0.0) + 1 / len(owners)
            n_found[language] += 1
    best = sorted(scores.items(), key=lambda each: (-each[1], each[0]))[:2]
    if not best or n_found[best[0][0]] < _MIN_STOP_WORDS:
        return ""
    if len(best) == 2 and best[0][1] < _MIN_SCORE_RATIO * best[1][1]:
        return ""
    return best[0][0]


@cache
def stop_words(language: str) -> frozenset[str]:
    """The stop words of a language, case-folded; empty if it has no list."""
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


def _longest_prefix(text: str, ends: list[int], max_words: int) -> str:
    """The longest prefix of `text` that ends at one of `ends` and has at high `max_words` words."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if count_words(text[: ends[middle - 1]]) <= max_words:
            low = middle
        else:
            high = middle - 1
    return text[: ends[low - 1]].strip() if low else ""


def _sentence_ends(text: str) -> list[int]:
    return [match.end() for match in _SENTENCE_END.finditer(text) if _is_end(text, match)]


def _is_end(text: str, match: re.Match[str]) -> bool:
    if match.group() != ".":
        return True
    before = text[max(0, match.start() - 12) : match.start()].split()
    word = before[-1].lstrip("([\"'“‘«") if before else ""
    # No sentence ends in "3. Mai", "J. Smith", "1. item", "e.g. this", nor before a lower-case letter.
    if re.fullmatch(r"\d{1,2}|[^\W\d_]", word) or word.casefold() in _ABBREVIATIONS:
        return False
    after = text[match.end() : match.end() + 40].lstrip()
    return not after[:1].islower()
