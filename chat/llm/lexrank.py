"""A transcript's central sentences: LexRank (Erkan and Radev, "LexRank", JAIR 22, 2004) by sumy.

sumy imports nltk, which is large: nothing here is imported until something is to be summarized.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from chat.llm.base import Passage, Style, Transcript
from chat.llm.keyphrases import FILLERS, keyphrases
from chat.llm.text import count_words, cut_to_words, line, one_line, sentences
from chat.llm.tokenize import Words, language_for, words_for

PART_SENTENCES = 150
"""LexRank compares each sentence with each: so many take a quarter of a second, thrice as many two."""
_CONDENSED_SHARE = 0.2
_SUMMARY_SHARE = 0.4
_SHORT = 5
"""Sentences: of a transcript that has no more, all are told."""
_MOST_POINTS = {Style.PARAGRAPH: 40, Style.BULLET_POINTS: 25, Style.KEY_POINTS: 12}
_LEAST_TERMS = 3
_LONGEST_SENTENCE = 60
_UNFINISHED = re.compile(r"[^\W_][,;]?$")
_JOINED_CHARACTERS = 200
"""Where nothing has a full stop, what is joined should still be short enough to be quoted."""
_PAUSE_SECONDS = 2.0
_PHRASES = 40
_SAME_SHARE = 0.5
_KEYS = Style.KEY_POINTS
_FULL_WIDTH = {"ja", "zh", "yue"}
_WITHOUT_BLANKS = {"ja", "zh", "yue", "th", "lo", "my", "km"}


def parts(transcript: Transcript) -> list[Transcript]:
    """The transcript in pieces of about PART_SENTENCES sentences or less, cut between passages."""
    pieces: list[tuple[Passage, int]] = []
    for passage in transcript.passages:
        said = split(passage)
        whole = len(said) <= PART_SENTENCES
        pieces += [(passage, max(1, len(said)))] if whole else [(each, 1) for each in said]
    total = sum(size for _, size in pieces)
    if total <= PART_SENTENCES:
        return [transcript]
    fair = total / math.ceil(total / PART_SENTENCES)
    found: list[list[Passage]] = [[]]
    size = 0
    for passage, own in pieces:
        if found[-1] and size + own / 2 > fair:
            found.append([])
            size = 0
        found[-1].append(passage)
        size += own
    return [Transcript(tuple(passages), transcript.language) for passages in found]


def condense(part: Transcript) -> list[Passage]:
    """The central sentences of `part`, about a fifth, in order of time."""
    spoken = spoken_sentences(part)
    n_kept = max(_SHORT, math.ceil(_CONDENSED_SHARE * len(spoken)))
    best = _by_centrality(spoken, words_for(part))[:n_kept]
    return [spoken[index] for index in sorted(best)]


def summarize(transcript: Transcript, *, style: Style, max_words: int) -> str:
    """The most central sentences that fit into `max_words`, in order of time."""
    language = language_for(transcript)
    while len(pieces := parts(transcript)) > 1:
        condensed = tuple(passage for piece in pieces for passage in condense(piece))
        transcript = Transcript(condensed, language)
    spoken = spoken_sentences(transcript)
    words = Words(language)
    order = _by_centrality(spoken, words)
    phrases = _phrases(spoken, Transcript(transcript.passages, language)) if style is _KEYS else []
    told = _told(spoken, style, phrases=phrases, stop="。" if language in _FULL_WIDTH else ".")
    terms = [frozenset(words.terms(sentence.text).content) for sentence in spoken]
    chosen: list[int] = []
    room = max_words
    for index in order:
        size = count_words(told[index])
        is_new = not any(_says_the_same(terms[index], terms[other]) for other in chosen)
        has_own_key = not phrases or phrases[index] not in {phrases[other] for other in chosen}
        if len(chosen) < _most(spoken, style) and size <= room and is_new and has_own_key:
            chosen.append(index)
            room -= size
    if not chosen and order:
        return _beginning(spoken[order[0]].text, style, max_words)
    separator = "\n" if style is not Style.PARAGRAPH else "" if language in _WITHOUT_BLANKS else " "
    return separator.join(told[index] for index in sorted(chosen))


def _most(spoken: Sequence[Passage], style: Style) -> int:
    """How many sentences a summary has, however many words it may have."""
    if len(spoken) <= _SHORT:
        return len(spoken)
    return min(_MOST_POINTS[style], max(_SHORT, math.ceil(_SUMMARY_SHARE * len(spoken))))


def spoken_sentences(transcript: Transcript) -> list[Passage]:
    """Each sentence with its speaker and the time at which it was said, as far as the passages tell."""
    return [sentence for passage in _joined(transcript.passages) for sentence in split(passage)]


def split(passage: Passage) -> list[Passage]:
    """The sentences of `passage`; the time of each by its share of the letters."""
    said = sentences(passage.text)
    if len(said) < 2 or passage.start is None or passage.end is None:
        return [replace(passage, text=one_line(text)) for text in said]
    per_letter = (passage.end - passage.start) / sum(map(len, said))
    at, found = passage.start, []
    for text in said:
        end = min(passage.end, at + per_letter * len(text))
        found.append(replace(passage, text=one_line(text), start=at, end=end))
        at = end
    return found


def _joined(passages: Sequence[Passage]) -> list[Passage]:
    """Passages that were cut in the middle of a sentence, as a speech model cuts them, put together."""
    found: list[Passage] = []
    for passage in passages:
        before = found[-1] if found else None
        text = passage.text.strip()
        if (
            before is not None
            and before.speaker == passage.speaker
            and text[:1].islower()
            and _UNFINISHED.search(before.text.rstrip())
            and len(before.text) < _JOINED_CHARACTERS
            and (passage.start or 0.0) - (before.end or 0.0) < _PAUSE_SECONDS
        ):
            found[-1] = replace(before, text=f"{before.text.rstrip()} {text}", end=passage.end)
        else:
            found.append(passage)
    return found


def _by_centrality(spoken: Sequence[Passage], words: Words) -> list[int]:
    """Indices of the sentences worth telling, the most central first."""
    terms = [words.terms(sentence.text).content for sentence in spoken]
    seen: set[frozenset[str]] = set()
    worth: list[int] = []
    for index, own in enumerate(terms):
        if len(set(own)) >= _LEAST_TERMS and frozenset(own) not in seen:
            seen.add(frozenset(own))
            worth.append(index)
    if not worth:  # nothing but "Yes, exactly." was said
        doubles = {sentence.text: index for index, sentence in reversed(list(enumerate(spoken)))}
        return sorted(doubles.values())
    ratings = _lex_rank([spoken[index].text for index in worth], words)
    rating_of = dict(zip(worth, ratings, strict=True))
    long = {index for index in worth if count_words(spoken[index].text) > _LONGEST_SENTENCE}
    # Rounded, since sums over sets differ in their last digits from process to process.
    ordered = sorted(worth, key=lambda index: (index in long, -round(rating_of[index], 6), index))
    # In a conversation much is said in few words; after all the others, these too.
    fillers = set(words.terms(" ".join(FILLERS)).content)
    rest = [i for i, own in enumerate(terms) if i not in rating_of and set(own) - fillers]
    return ordered + [i for i in rest if frozenset(terms[i]) not in seen]


def _lex_rank(texts: Sequence[str], words: Words) -> list[float]:
    import numpy
    from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
    from sumy.summarizers.lex_rank import LexRankSummarizer

    class Tokenizer:
        def to_words(self, text: str) -> tuple[str, ...]:
            return words.terms(text).content

    tokenizer = Tokenizer()
    document = ObjectDocumentModel([Paragraph([Sentence(text, tokenizer) for text in texts])])
    ratings = [0.0] * len(texts)

    def note(infos: list[object]) -> list[object]:
        """Called instead of taking the best few: what sumy knows of each sentence."""
        for info in infos:
            ratings[info.order] = float(info.rating)  # type: ignore[attr-defined]
        return infos

    # Sentences that have nothing in common, or all in common, make it divide by zero.
    with numpy.errstate(all="ignore"):
        LexRankSummarizer()(document, note)
    return [0.0 if math.isnan(rating) else rating for rating in ratings]


def _told(
    spoken: Sequence[Passage], style: Style, *, phrases: Sequence[str], stop: str
) -> list[str]:
    """Each sentence as a summary of `style` tells it."""
    if style is Style.BULLET_POINTS:
        return [f"- {line(sentence)}" for sentence in spoken]
    if style is _KEYS:
        return [f"- **{key}**: {each.text}" for key, each in zip(phrases, spoken, strict=True)]
    return [each.text + (stop if _UNFINISHED.search(each.text) else "") for each in spoken]


def _says_the_same(terms: frozenset[str], others: frozenset[str]) -> bool:
    return len(terms & others) > _SAME_SHARE * len(terms | others)


def _phrases(spoken: Sequence[Passage], transcript: Transcript) -> list[str]:
    """For each sentence the most telling phrase of the transcript that it holds, else a word of its own."""
    words = Words(transcript.language)
    phrases = [
        (each, set(words.terms(each).content)) for each in keyphrases(transcript, limit=_PHRASES)
    ]
    return [_phrase(sentence, phrases, words) for sentence in spoken]


def _phrase(sentence: Passage, phrases: Sequence[tuple[str, set[str]]], words: Words) -> str:
    own = set(words.terms(sentence.text).content)
    for phrase, terms in phrases:
        if terms <= own:
            return phrase
    telling = [w for w in re.findall(r"[^\W_]+", sentence.text) if words.terms(w).content]
    return max(telling, key=len, default=cut_to_words(sentence.text, 2))


def _beginning(sentence: str, style: Style, max_words: int) -> str:
    if style is Style.PARAGRAPH or max_words < 2:
        return cut_to_words(sentence, max_words)
    return f"- {cut_to_words(sentence, max_words - 1)}"
