"""What a transcript is about, in short phrases: YAKE (Campos et al., "YAKE!", Information Sciences 2020).

For scripts without blanks between words, which YAKE cannot split: the character sequences that come back.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable

from chat.llm.base import Transcript
from chat.llm.text import count_words, one_line, stop_words
from chat.llm.tokenize import SPEAKER_LABEL, Words, fold, language_for

FEWEST = 3
_WORDS_A_PHRASE = 3
_LONGEST_PHRASE = 60
"""Characters: YAKE takes whole clauses of Thai for words."""
_CANDIDATES = 80
_SENTENCE_ENDS = tuple(".!?…。！？")
_SENTENCE_WITHIN = re.compile(r"[.!?…]\s")
_PUNCTUATION_RUN = re.compile(r"(?:[^\w\s]\s?){4,}+")  # says nothing, and takes YAKE minutes
_AFTER_SENTENCE = " \"'”’»)]」』）"
_HAN_OR_KATAKANA = re.compile(
    r"[\u30a1-\u30fa\u30fc]{2,}|[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff]{2,}"
)
_LONGEST_RUN = 6
_CHINESE_PARTICLES = re.compile(
    "[的了在是我你他她它们們这這那和与與或也都把被到从從就不很太要会會为為以及]"
)
_LANGUAGES_OF_RUNS = {"ja", "zh", "yue"}
_YAKE_CODES = {"cs": "cz"}
_FILLING = (
    "yeah yep yes okay ok um uh mhm hmm gonna wanna guys lot bit sort kind thing things stuff mean guess"
    " right exactly sure oh ah well really actually basically maybe good great nice thanks thank today"
    " hello hi hey bye goodbye hallo tschüss bonjour salut hola"
    " genau okay also ja nein halt eben quasi danke gut alles klar voila ben donc euh oui non merci"
    " vale bueno pues entonces claro gracias si speaker"
)
FILLERS = frozenset(_FILLING.split())


def keyphrases(transcript: Transcript, *, limit: int = 8) -> list[str]:
    """At most `limit` short phrases, the most telling first; at least three where there are three words to tell."""
    language = language_for(transcript)
    words = Words(language)
    text = _plain_text(transcript)
    candidates = _runs(text, language) if language in _LANGUAGES_OF_RUNS else _yake(text, language)
    speakers = {term for each in _speakers(transcript) for term in words.terms(each).content}
    chosen: dict[str, frozenset[str]] = {}
    _choose(candidates, chosen, words=words, unwanted=speakers, limit=limit)
    if len(chosen) < FEWEST:
        single = [word for word, _ in Counter(re.findall(r"[^\W\d_]{3,}", text)).most_common()]
        fewest = min(FEWEST, limit)
        _choose(single, chosen, words=words, unwanted=speakers, limit=fewest)
        if len(chosen) < fewest:  # phrases of several words have used up the few that there are
            chosen = {}
            _choose(single, chosen, words=words, unwanted=speakers, limit=fewest)
    return list(chosen)


def _choose(
    candidates: Iterable[str],
    chosen: dict[str, frozenset[str]],
    *,
    words: Words,
    unwanted: set[str],
    limit: int,
) -> None:
    """Add those of `candidates` that say something which none of `chosen` says."""
    for candidate in candidates:
        if len(chosen) >= limit:
            return
        terms = words.terms(candidate)
        content = frozenset(terms.content) - unwanted
        parts = [fold(part) for part in re.findall(r"[^\W_]+", candidate)]
        if len(candidate) > _LONGEST_PHRASE or _SENTENCE_WITHIN.search(candidate):
            continue
        if not content or len(set(parts)) < len(parts) or FILLERS.intersection(parts):
            continue
        if all(part.isdigit() for part in parts) or unwanted.intersection(terms.content):
            continue
        if any(_overlap(content, other) for other in chosen.values()):
            continue
        chosen[candidate] = content


def _overlap(terms: frozenset[str], others: frozenset[str]) -> bool:
    return len(terms & others) * 2 >= min(len(terms), len(others))


def _plain_text(transcript: Transcript) -> str:
    lines = []
    for passage in transcript.passages:
        said = SPEAKER_LABEL.sub(" ", one_line(passage.text))
        # YAKE makes no phrase across a sentence's end, and passages end where speakers take turns.
        lines.append(said if said.rstrip(_AFTER_SENTENCE).endswith(_SENTENCE_ENDS) else f"{said}.")
    return _PUNCTUATION_RUN.sub(". ", "\n".join(lines))


def _speakers(transcript: Transcript) -> set[str]:
    return {passage.speaker for passage in transcript.passages if passage.speaker}


def _yake(text: str, language: str) -> list[str]:
    import yake

    logging.getLogger("yake").setLevel(logging.CRITICAL)
    code = _YAKE_CODES.get(language, language)
    # Its English list is complete; others lack the everyday words of speech.
    own = set() if language == "en" else set(stop_words(language))
    extractor = yake.KeywordExtractor(lan=code or "noLang", n=_WORDS_A_PHRASE, top=_CANDIDATES)
    extractor.stopword_set = extractor.stopword_set | own
    return [one_line(phrase) for phrase, _ in extractor.extract_keywords(text)]


def _runs(text: str, language: str) -> list[str]:
    """Runs of Han or katakana, the frequent and long ones first; Han ones without what stop words they hold."""
    unwanted = sorted((w for w in stop_words(language) if len(w) > 1), key=len, reverse=True)
    bare = re.sub("|".join(map(re.escape, unwanted)) or r"(?!)", " ", text)
    if language != "ja":
        bare = _CHINESE_PARTICLES.sub(" ", bare)
    counts: Counter[str] = Counter()
    for run in _HAN_OR_KATAKANA.findall(bare):
        if len(run) <= _LONGEST_RUN:
            counts[run] += 1
        else:
            counts.update(run[i : i + 4] for i in range(0, len(run) - 1, 4))
    return sorted(
        counts, key=lambda run: (-counts[run] * min(count_words(run), 4), text.index(run))
    )
