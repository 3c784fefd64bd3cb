"""Extract keyphrases from a transcript: YAKE (Campos et al., "YAKE!", Information Sciences 2020).

For scripts without spaces between words, which YAKE cannot split: frequent character sequences.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable

from chat.llm.base import Transcript
from chat.llm.text import count_words, one_line, stop_words
from chat.llm.tokenize import SPEAKER_LABEL, Tokenizer, fold, transcript_language

MIN_PHRASES = 3
_PHRASE_WORDS = 3
_MAX_PHRASE_CHARACTERS = 60
"""YAKE takes whole clauses of Thai for words."""
_N_CANDIDATES = 80
_SENTENCE_ENDS = tuple(".!?…。！？")
_SENTENCE_WITHIN = re.compile(r"[.!?…]\s")
_PUNCTUATION_RUN = re.compile(r"(?:[^\w\s]\s?){4,}+")  # takes YAKE minutes, for nothing
_AFTER_SENTENCE = " \"'”’»)]」』）"
_HAN_OR_KATAKANA = re.compile(
    r"[\u30a1-\u30fa\u30fc]{2,}|[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff]{2,}"
)
_MAX_RUN_CHARACTERS = 6
_CHINESE_PARTICLES = re.compile(
    "[的了在是我你他她它们們这這那和与與或也都把被到从從就不很太要会會为為以及]"
)
_UNSPACED_LANGUAGES = {"ja", "zh", "yue"}
_YAKE_CODES = {"cs": "cz"}
_FILLER_WORDS = (
    "yeah yep yes okay ok um uh mhm hmm gonna wanna guys lot bit sort kind thing things stuff mean guess"
    " right exactly sure oh ah well really actually basically maybe good great nice thanks thank today"
    " hello hi hey bye goodbye hallo tschüss bonjour salut hola"
    " genau okay also ja nein halt eben quasi danke gut alles klar voila ben donc euh oui non merci"
    " vale bueno pues entonces claro gracias si speaker"
)
FILLERS = frozenset(_FILLER_WORDS.split())


def keyphrases(transcript: Transcript, *, limit: int = 8) -> list[str]:
    """Extract at most `limit` short phrases, best first; at least MIN_PHRASES if the text has enough words."""
    language = transcript_language(transcript)
    tokenizer = Tokenizer(language)
    text = _plain_text(transcript)
    extract = _frequent_runs if language in _UNSPACED_LANGUAGES else _yake_phrases
    candidates = extract(text, language)
    speakers = {term for each in _speakers(transcript) for term in tokenizer.terms(each).content}
    chosen: dict[str, frozenset[str]] = {}
    _add_distinct(candidates, chosen, tokenizer=tokenizer, excluded=speakers, limit=limit)
    if len(chosen) < MIN_PHRASES:
        words = [word for word, _ in Counter(re.findall(r"[^\W\d_]{3,}", text)).most_common()]
        n_required = min(MIN_PHRASES, limit)
        _add_distinct(words, chosen, tokenizer=tokenizer, excluded=speakers, limit=n_required)
        if len(chosen) < n_required:  # the phrases contain all of the few words: use single words
            chosen = {}
            _add_distinct(words, chosen, tokenizer=tokenizer, excluded=speakers, limit=n_required)
    return list(chosen)


def _add_distinct(
    candidates: Iterable[str],
    chosen: dict[str, frozenset[str]],
    *,
    tokenizer: Tokenizer,
    excluded: set[str],
    limit: int,
) -> None:
    """Add candidates to `chosen`, up to `limit`: phrases with content that overlap with none chosen before."""
    for candidate in candidates:
        if len(chosen) >= limit:
            return
        terms = tokenizer.terms(candidate)
        content = frozenset(terms.content) - excluded
        parts = [fold(part) for part in re.findall(r"[^\W_]+", candidate)]
        if len(candidate) > _MAX_PHRASE_CHARACTERS or _SENTENCE_WITHIN.search(candidate):
            continue
        if not content or len(set(parts)) < len(parts) or FILLERS.intersection(parts):
            continue
        if all(part.isdigit() for part in parts) or excluded.intersection(terms.content):
            continue
        if any(_overlap(content, other) for other in chosen.values()):
            continue
        chosen[candidate] = content


def _overlap(terms: frozenset[str], others: frozenset[str]) -> bool:
    return len(terms & others) * 2 >= min(len(terms), len(others))


def _plain_text(transcript: Transcript) -> str:
    lines = []
    for passage in transcript.passages:
        text = SPEAKER_LABEL.sub(" ", one_line(passage.text))
        # YAKE builds no phrases across sentences, so a full stop keeps them within a passage.
        lines.append(text if text.rstrip(_AFTER_SENTENCE).endswith(_SENTENCE_ENDS) else f"{text}.")
    return _PUNCTUATION_RUN.sub(". ", "\n".join(lines))


def _speakers(transcript: Transcript) -> set[str]:
    return {passage.speaker for passage in transcript.passages if passage.speaker}


def _yake_phrases(text: str, language: str) -> list[str]:
    import yake

    logging.getLogger("yake").setLevel(logging.CRITICAL)
    code = _YAKE_CODES.get(language, language)
    # YAKE's English stop-word list is complete; others lack everyday words of speech.
    more_stop_words = set() if language == "en" else set(stop_words(language))
    extractor = yake.KeywordExtractor(lan=code or "noLang", n=_PHRASE_WORDS, top=_N_CANDIDATES)
    extractor.stopword_set = extractor.stopword_set | more_stop_words
    return [one_line(phrase) for phrase, _ in extractor.extract_keywords(text)]


def _frequent_runs(text: str, language: str) -> list[str]:
    """Runs of Han or katakana without stop words, the frequent and long ones first."""
    excluded = sorted((w for w in stop_words(language) if len(w) > 1), key=len, reverse=True)
    bare = re.sub("|".join(map(re.escape, excluded)) or r"(?!)", " ", text)
    if language != "ja":
        bare = _CHINESE_PARTICLES.sub(" ", bare)
    counts: Counter[str] = Counter()
    for run in _HAN_OR_KATAKANA.findall(bare):
        if len(run) <= _MAX_RUN_CHARACTERS:
            counts[run] += 1
        else:
            counts.update(run[i : i + 4] for i in range(0, len(run) - 1, 4))
    return sorted(
        counts, key=lambda run: (-counts[run] * min(count_words(run), 4), text.index(run))
    )
