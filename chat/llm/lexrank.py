"""Extractive summaries: the central sentences by LexRank (Erkan and Radev, "LexRank", JAIR 22, 2004), with sumy.

sumy imports nltk, which is large, so it is imported only when a transcript is summarized.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from chat.llm.base import Passage, Style, Transcript
from chat.llm.keyphrases import FILLERS, keyphrases
from chat.llm.text import count_words, cut_to_words, line, one_line, sentences
from chat.llm.tokenize import Tokenizer, tokenizer_for, transcript_language

PART_SENTENCES = 150
"""LexRank compares all pairs of sentences: 150 take a quarter of a second, 450 take two."""
_NOTES_SHARE = 0.2
"""The share of a part's sentences that its notes keep."""
_SUMMARY_SHARE = 0.4
_MIN_SENTENCES = 5
"""A transcript with no more sentences is summarized by all of them."""
_MAX_SENTENCES = {Style.PARAGRAPH: 40, Style.BULLET_POINTS: 25, Style.KEY_POINTS: 12}
_MIN_TERMS = 3
"""Sentences with fewer distinct terms are not ranked, but come last."""
_LONG_SENTENCE_WORDS = 60
"""Sentences with more words rank below all others that are ranked."""
_UNFINISHED = re.compile(r"[^\W_][,;]?$")
_MAX_JOINED_CHARACTERS = 200
"""Without full stops, passages would be joined without end, too long to be quoted."""
_MAX_PAUSE_SECONDS = 2.0
_N_PHRASES = 40
_REDUNDANT_OVERLAP = 0.5
"""The Jaccard index of terms above which a sentence repeats another."""
_FULL_WIDTH = {"ja", "zh", "yue"}
_WITHOUT_SPACES = {"ja", "zh", "yue", "th", "lo", "my", "km"}


def parts(transcript: Transcript) -> list[Transcript]:
    """Split the transcript between passages into parts of about PART_SENTENCES sentences or fewer."""
    sized: list[tuple[Passage, int]] = []
    for passage in transcript.passages:
        spoken = split_sentences(passage)
        is_short = len(spoken) <= PART_SENTENCES
        sized += [(passage, max(1, len(spoken)))] if is_short else [(each, 1) for each in spoken]
    total = sum(size for _, size in sized)
    if total <= PART_SENTENCES:
        return [transcript]
    target_size = total / math.ceil(total / PART_SENTENCES)
    groups: list[list[Passage]] = [[]]
    group_size = 0
    for passage, size in sized:
        if groups[-1] and group_size + size / 2 > target_size:
            groups.append([])
            group_size = 0
        groups[-1].append(passage)
        group_size += size
    return [Transcript(tuple(passages), transcript.language) for passages in groups]


def condense(part: Transcript) -> list[Passage]:
    """Condense a part to its central sentences, about a fifth, ordered by start."""
    spoken = spoken_sentences(part)
    n_kept = max(_MIN_SENTENCES, math.ceil(_NOTES_SHARE * len(spoken)))
    best = _rank_by_centrality(spoken, tokenizer_for(part))[:n_kept]
    return [spoken[index] for index in sorted(best)]


def summarize(transcript: Transcript, *, style: Style, max_words: int) -> str:
    """Summarize by the most central sentences that fit into `max_words`, ordered by start."""
    language = transcript_language(transcript)
    while len(split := parts(transcript)) > 1:
        condensed = tuple(passage for part in split for passage in condense(part))
        transcript = Transcript(condensed, language)
    spoken = spoken_sentences(transcript)
    tokenizer = Tokenizer(language)
    order = _rank_by_centrality(spoken, tokenizer)
    labels: list[str] = []
    if style is Style.KEY_POINTS:
        labels = _key_phrases(spoken, Transcript(transcript.passages, language))
    full_stop = "。" if language in _FULL_WIDTH else "."
    lines = _format_sentences(spoken, style, labels=labels, full_stop=full_stop)
    terms = [frozenset(tokenizer.terms(sentence.text).content) for sentence in spoken]
    chosen: list[int] = []
    n_words_left = max_words
    for index in order:
        n_words = count_words(lines[index])
        is_new = not any(_is_redundant(terms[index], terms[other]) for other in chosen)
        has_own_label = not labels or labels[index] not in {labels[other] for other in chosen}
        has_room = len(chosen) < _max_sentences(spoken, style) and n_words <= n_words_left
        if has_room and is_new and has_own_label:
            chosen.append(index)
            n_words_left -= n_words
    if not chosen and order:
        return _truncate_sentence(spoken[order[0]].text, style, max_words)
    separator = "\n" if style is not Style.PARAGRAPH else "" if language in _WITHOUT_SPACES else " "
    return separator.join(lines[index] for index in sorted(chosen))


def _max_sentences(spoken: Sequence[Passage], style: Style) -> int:
    """The limit on a summary's sentences, whatever its limit on words."""
    if len(spoken) <= _MIN_SENTENCES:
        return len(spoken)
    by_share = math.ceil(_SUMMARY_SHARE * len(spoken))
    return min(_MAX_SENTENCES[style], max(_MIN_SENTENCES, by_share))


def spoken_sentences(transcript: Transcript) -> list[Passage]:
    """The sentences of a transcript, with speakers and times if the passages have them."""
    passages = _join_broken_sentences(transcript.passages)
    return [sentence for passage in passages for sentence in split_sentences(passage)]


def split_sentences(passage: Passage) -> list[Passage]:
    """Split a passage into sentences. Their times are interpolated by the number of characters."""
    texts = sentences(passage.text)
    if len(texts) < 2 or passage.start is None or passage.end is None:
        return [replace(passage, text=one_line(text)) for text in texts]
    seconds_per_character = (passage.end - passage.start) / sum(map(len, texts))
    start, found = passage.start, []
    for text in texts:
        end = min(passage.end, start + seconds_per_character * len(text))
        found.append(replace(passage, text=one_line(text), start=start, end=end))
        start = end
    return found


def _join_broken_sentences(passages: Sequence[Passage]) -> list[Passage]:
    """Join passages that a speech model cut in the middle of a sentence."""
    joined: list[Passage] = []
    for passage in passages:
        before = joined[-1] if joined else None
        text = passage.text.strip()
        if (
            before is not None
            and before.speaker == passage.speaker
            and text[:1].islower()
            and _UNFINISHED.search(before.text.rstrip())
            and len(before.text) < _MAX_JOINED_CHARACTERS
            and (passage.start or 0.0) - (before.end or 0.0) < _MAX_PAUSE_SECONDS
        ):
            joined[-1] = replace(before, text=f"{before.text.rstrip()} {text}", end=passage.end)
        else:
            joined.append(passage)
    return joined


def _rank_by_centrality(spoken: Sequence[Passage], tokenizer: Tokenizer) -> list[int]:
    """Rank the sentences with content, without duplicates. Returns their indices, the most central first."""
    terms = [tokenizer.terms(sentence.text).content for sentence in spoken]
    seen: set[frozenset[str]] = set()
    candidates: list[int] = []
    for index, own in enumerate(terms):
        if len(set(own)) >= _MIN_TERMS and frozenset(own) not in seen:
            seen.add(frozenset(own))
            candidates.append(index)
    if not candidates:  # the transcript is nothing but "Yes, exactly."
        first_of = {sentence.text: index for index, sentence in reversed(list(enumerate(spoken)))}
        return sorted(first_of.values())
    scores = _lex_rank([spoken[index].text for index in candidates], tokenizer)
    score_of = dict(zip(candidates, scores, strict=True))
    long = {at for at in candidates if count_words(spoken[at].text) > _LONG_SENTENCE_WORDS}
    # Rounded: sums over sets differ in the last digits between processes, since the hash seed differs.
    ranked = sorted(candidates, key=lambda at: (at in long, -round(score_of[at], 6), at))
    # Short sentences matter in conversations, so they follow after the ranked ones.
    fillers = set(tokenizer.terms(" ".join(FILLERS)).content)
    short = [i for i, own in enumerate(terms) if i not in score_of and set(own) - fillers]
    return ranked + [i for i in short if frozenset(terms[i]) not in seen]


def _lex_rank(texts: Sequence[str], tokenizer: Tokenizer) -> list[float]:
    """The LexRank score of each text."""
    import numpy
    from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
    from sumy.summarizers.lex_rank import LexRankSummarizer

    class SumyTokenizer:
        def to_words(self, text: str) -> tuple[str, ...]:
            return tokenizer.terms(text).content

    sumy_tokenizer = SumyTokenizer()
    sumy_sentences = [Sentence(text, sumy_tokenizer) for text in texts]
    scores = [0.0] * len(texts)

    def record_scores(infos: list[object]) -> list[object]:
        """Record the scores of all sentences; sumy calls this to select the best ones."""
        for info in infos:
            scores[info.order] = float(info.rating)  # type: ignore[attr-defined]
        return infos

    # sumy divides by zero if all sentences are alike, or have no term in common.
    with numpy.errstate(all="ignore"):
        LexRankSummarizer()(ObjectDocumentModel([Paragraph(sumy_sentences)]), record_scores)
    return [0.0 if math.isnan(score) else score for score in scores]


def _format_sentences(
    spoken: Sequence[Passage], style: Style, *, labels: Sequence[str], full_stop: str
) -> list[str]:
    """Format each sentence in the style of the summary."""
    if style is Style.BULLET_POINTS:
        return [f"- {line(sentence)}" for sentence in spoken]
    if style is Style.KEY_POINTS:
        return [f"- **{label}**: {each.text}" for label, each in zip(labels, spoken, strict=True)]
    return [each.text + (full_stop if _UNFINISHED.search(each.text) else "") for each in spoken]


def _is_redundant(terms: frozenset[str], others: frozenset[str]) -> bool:
    return len(terms & others) > _REDUNDANT_OVERLAP * len(terms | others)


def _key_phrases(spoken: Sequence[Passage], transcript: Transcript) -> list[str]:
    """For each sentence, the best keyphrase of the transcript that it contains, else its longest content word."""
    tokenizer = Tokenizer(transcript.language)
    phrases = [
        (each, set(tokenizer.terms(each).content))
        for each in keyphrases(transcript, limit=_N_PHRASES)
    ]
    return [_key_phrase(sentence, phrases, tokenizer) for sentence in spoken]


def _key_phrase(
    sentence: Passage, phrases: Sequence[tuple[str, set[str]]], tokenizer: Tokenizer
) -> str:
    sentence_terms = set(tokenizer.terms(sentence.text).content)
    for phrase, terms in phrases:
        if terms <= sentence_terms:
            return phrase
    words = re.findall(r"[^\W_]+", sentence.text)
    content_words = [word for word in words if tokenizer.terms(word).content]
    return max(content_words, key=len, default=cut_to_words(sentence.text, 2))


def _truncate_sentence(sentence: str, style: Style, max_words: int) -> str:
    if style is Style.PARAGRAPH or max_words < 2:
        return cut_to_words(sentence, max_words)
    return f"- {cut_to_words(sentence, max_words - 1)}"
