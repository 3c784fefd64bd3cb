"""Full-text search: finds jobs by words of their segments, or by their recording's name.

The database keeps the index of the segments' text up to date: on SQLite triggers fill an external-content FTS5
table, on PostgreSQL it is a GIN index. The index is created after each `migrate` rather than by a migration, because
Django recreates an SQLite table to change a column, which drops its triggers.

The search ignores case, and on SQLite diacritics too.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import Q, QuerySet, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import RowNumber

from transcription.models import Job, Segment
from transcription.transcript import word_alignment

INDEX_NAME = "transcription_segment_text"
SEGMENT_TABLE = Segment._meta.db_table
MAX_SEARCH_LENGTH = 500
"""A longer search text is truncated to this many characters."""
EXCERPT_LENGTH, CONTEXT_LENGTH = 160, 40
"""Characters of an excerpt, and at most how many of them come before its first hit."""
UNSPACED_SCRIPTS = re.compile(rf"[{word_alignment.UNSPACED_SCRIPTS}\u0f00-\u0fff]")
"""Scripts without spaces between words, and Tibetan, which has spaces between clauses only."""
Part = tuple[str, bool]
"""A piece of text, and whether it is a hit."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The text around a segment's first hit; `start` is the segment's, in seconds."""

    segment_id: int
    start: float
    parts: tuple[Part, ...]
    """The text in pieces, with `…` where something was left out."""


def find_jobs(*, text: str) -> QuerySet[Job]:
    """Find jobs with all words of `text` in one segment, or `text` in their recording's name; newest first.

    The last word also matches as a prefix. An empty text finds all jobs; one without letters or digits is only looked
    up in names.
    """
    jobs = Job.objects.select_related("recording").order_by("-created_at", "-pk")
    if not text.strip():
        return jobs
    text = _normalize(text)
    if not text:
        return jobs.none()
    condition = Q(recording__name__iregex=_name_pattern(text))
    if words := _search_words(text):
        condition |= Q(pk__in=_segments_containing(words).values("job"))
    return jobs.filter(condition)


def excerpts(*, text: str, jobs: Sequence[Job], each: int = 3) -> dict[UUID, list[Excerpt]]:
    """The first `each` segments of each job that contain the words of `text`, ordered by time."""
    excerpts_by_job: dict[UUID, list[Excerpt]] = {job.pk: [] for job in jobs}
    words = _search_words(_normalize(text))
    if not words or not excerpts_by_job:
        return excerpts_by_job
    rank = Window(RowNumber(), partition_by="job", order_by=("start", "pk"))
    segments = (
        _segments_containing(words)
        .filter(job__in=excerpts_by_job)
        .annotate(rank=rank)
        .filter(rank__lte=each)
    )
    pattern = _hit_pattern(words)
    for segment in segments.only("job_id", "start", "text").order_by("start", "pk"):
        parts = tuple(_excerpt_parts(segment.text, pattern))
        excerpts_by_job[segment.job_id].append(Excerpt(segment.pk, segment.start, parts))
    return excerpts_by_job


# ---- The search text


def _normalize(text: str) -> str:
    """Truncate the search text, compose it (NFC), and remove characters that the database cannot store."""
    text = text.replace("\0", " ").strip()[:MAX_SEARCH_LENGTH].encode(errors="ignore").decode()
    return unicodedata.normalize("NFC", text).strip()


def _search_words(text: str) -> list[str]:
    """The words of the search text that have letters or digits; the index contains no others."""
    return [word for word in text.split() if any(map(str.isalnum, word))]


def _are_unspaced(words: Sequence[str]) -> bool:
    return any(UNSPACED_SCRIPTS.search(word) for word in words)


def _segments_containing(words: Sequence[str]) -> QuerySet[Segment]:
    """Segments that contain all words, the last one also as a prefix.

    For unspaced scripts the index treats whole clauses as words, so it is not used.
    """
    if _are_unspaced(words):
        return Segment.objects.filter(*(Q(text__icontains=word) for word in words))
    if connection.vendor == "sqlite":
        # Quoted, so that FTS5 reads no word as an operator.
        quoted = ('"' + word.replace('"', '""') + '"' for word in words)
        matching = RawSQL(
            "SELECT rowid FROM transcription_segment_text WHERE transcription_segment_text MATCH %s",
            [" ".join(quoted) + "*"],
        )
        return Segment.objects.filter(pk__in=matching)
    from django.contrib.postgres.search import SearchQuery, SearchVector

    quoted = ("'" + re.sub(r"(['\\])", r"\1\1", word) + "'" for word in words)
    query = SearchQuery(" & ".join(quoted) + ":*", config="simple", search_type="raw")
    return Segment.objects.alias(indexed=SearchVector("text", config="simple")).filter(
        indexed=query
    )


def _name_pattern(text: str) -> str:
    """A regular expression for the text, composed or decomposed, because file systems differ in how they store names.

    Names are matched by regex because SQLite's LIKE ignores the case of ASCII letters only.
    """
    forms = (text, unicodedata.normalize("NFD", text))
    return "|".join(re.escape(form) for form in dict.fromkeys(forms))


# ---- Excerpts


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern of hits, to be matched against folded text."""

    regex: re.Pattern[str]
    keep_marks: bool

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The start and end index of each hit in `text`, from left to right."""
        folded, origins = [], []  # `origins`: for each folded character, its index in `text`
        for index, character in enumerate(text):
            folded_character = _fold(character, keep_marks=self.keep_marks)
            folded.append(folded_character)
            origins += [index] * len(folded_character)
        origins.append(len(text))
        return [
            (origins[match.start()], origins[match.end()])
            for match in self.regex.finditer("".join(folded))
        ]


def _hit_pattern(words: Sequence[str]) -> _Pattern:
    """A pattern that approximates the index's tokenizer. Where they differ (rare letters), a hit is not marked."""
    keep_marks = _are_unspaced(words)
    folded = [_fold(word, keep_marks=keep_marks) for word in words]
    if keep_marks:
        return _Pattern(re.compile("|".join(map(re.escape, folded))), keep_marks)
    alternatives = [r"[\W_]+".join(re.findall(r"[^\W_]+", word)) for word in folded]
    alternatives[-1] += r"[^\W_]*"
    longest_first = "|".join(sorted(alternatives, key=len, reverse=True))
    return _Pattern(re.compile(rf"(?<![^\W_])(?:{longest_first})(?![^\W_])"), keep_marks)


def _fold(text: str, *, keep_marks: bool) -> str:
    """Remove case, and unless `keep_marks` diacritics, as the index does."""
    if not keep_marks:
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(
            character for character in decomposed if not unicodedata.combining(character)
        )
    return unicodedata.normalize("NFC", text).lower()


def _excerpt_parts(text: str, pattern: _Pattern) -> Iterator[Part]:
    """Yield the parts of the excerpt around the first hit, cut between words if there are spaces."""
    spans = pattern.spans(text)
    first, last = spans[0] if spans else (0, 0)
    begin = max(first - CONTEXT_LENGTH, 0)
    begin = begin and (text.find(" ", begin, first) + 1 or begin)
    end = max(begin + EXCERPT_LENGTH, last)
    if end < len(text):
        end = max(text.rfind(" ", last, end), last) if " " in text[last:end] else end
    position = begin
    if begin > 0:
        yield "…", False
    for start, stop in spans:
        if stop > end:
            break
        if position < start:
            yield text[position:start], False
        yield text[start:stop], True
        position = stop
    rest = text[position:end] + ("…" if end < len(text) else "")
    if rest:
        yield rest, False


# ---- The index


_SQLITE_SCHEMA = {
    "transcription_segment_text": """
        CREATE VIRTUAL TABLE transcription_segment_text USING fts5(
            text, content='transcription_segment', content_rowid='id',
            tokenize='unicode61 remove_diacritics 2'
        )""",
    "transcription_segment_text_insert": """
        CREATE TRIGGER transcription_segment_text_insert
        AFTER INSERT ON transcription_segment BEGIN
            INSERT INTO transcription_segment_text (rowid, text) VALUES (new.id, new.text);
        END""",
    "transcription_segment_text_delete": """
        CREATE TRIGGER transcription_segment_text_delete
        AFTER DELETE ON transcription_segment BEGIN
            INSERT INTO transcription_segment_text (transcription_segment_text, rowid, text)
            VALUES ('delete', old.id, old.text);
        END""",
    "transcription_segment_text_update": """
        CREATE TRIGGER transcription_segment_text_update
        AFTER UPDATE OF text ON transcription_segment WHEN new.text IS NOT old.text BEGIN
            INSERT INTO transcription_segment_text (transcription_segment_text, rowid, text)
            VALUES ('delete', old.id, old.text);
            INSERT INTO transcription_segment_text (rowid, text) VALUES (new.id, new.text);
        END""",
}
"""The index's table and triggers by name, as `sqlite_master` stores their statements."""


def ensure_index(*, using: str = DEFAULT_DB_ALIAS) -> None:
    """Create the index of all segments, unless it exists and is up to date. Idempotent."""
    with transaction.atomic(using=using):
        if connections[using].vendor == "sqlite":
            _ensure_sqlite_index(using)
        else:
            _ensure_postgresql_index(using)


def _ensure_sqlite_index(using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master")
        existing = dict(cursor.fetchall())
        if all(existing.get(name) == sql.strip() for name, sql in _SQLITE_SCHEMA.items()):
            return
        # Without its triggers the index missed changes, so it is rebuilt.
        for name in _SQLITE_SCHEMA:
            cursor.execute(f"DROP {'TABLE' if name == INDEX_NAME else 'TRIGGER'} IF EXISTS {name}")
        if SEGMENT_TABLE not in existing:  # all migrations were reversed
            return
        for sql in _SQLITE_SCHEMA.values():
            cursor.execute(sql)
        cursor.execute(
            "INSERT INTO transcription_segment_text (transcription_segment_text) VALUES ('rebuild')"
        )


def _ensure_postgresql_index(using: str) -> None:
    from django.contrib.postgres.indexes import GinIndex
    from django.contrib.postgres.search import SearchVector

    connection = connections[using]
    with connection.cursor() as cursor:
        if SEGMENT_TABLE not in connection.introspection.table_names(cursor):
            return
        if INDEX_NAME in connection.introspection.get_constraints(cursor, SEGMENT_TABLE):
            return
    with connection.schema_editor() as editor:
        editor.add_index(Segment, GinIndex(SearchVector("text", config="simple"), name=INDEX_NAME))
