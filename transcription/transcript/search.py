"""Finding jobs by what was said in them, or by their recording's name.

The database itself keeps an index of all segments' text in step, whoever writes them and how: in SQLite triggers fill
an FTS5 table that holds no text of its own, in PostgreSQL it is a GIN index. No migration makes it: for many a change
of a column Django makes an SQLite table anew, and the triggers go with the old one. So what is missing is made after
each `migrate`.

In SQLite case and diacritics make no difference; in PostgreSQL case makes none.
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

INDEX = "transcription_segment_text"
SEGMENTS = Segment._meta.db_table
LONGEST_TEXT = 500
"""Characters that are looked for. Longer texts are found by their beginning: the last word may go on."""
EXCERPT, LEAD = 160, 40
"""Characters of an excerpt, and of them those before the first hit."""
UNSPACED = re.compile(rf"[{word_alignment.UNSPACED}\u0f00-\u0fff]")
"""Scripts without blanks between words, and Tibetan, whose blanks stand between clauses alone."""
Part = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a segment says around the first hit. `start` is seconds from the start of the recording."""

    segment_id: int
    start: float
    parts: tuple[Part, ...]
    """Its text in pieces, each with whether it is a hit; `…` where something is left out."""


def find_jobs(*, text: str) -> QuerySet[Job]:
    """Jobs with all words of the text in one segment, or the text in their recording's name; the newest first.

    The last word may be the beginning of one. An empty text finds all jobs, one without letters or digits only names.
    """
    jobs = Job.objects.select_related("recording").order_by("-created_at", "-pk")
    if not text.strip():
        return jobs
    text = _printable(text)
    if not text:
        return jobs.none()
    found = Q(recording__name__iregex=_pattern_of_name(text))
    if words := _words(text):
        found |= Q(pk__in=_holding(words).values("job"))
    return jobs.filter(found)


def excerpts(*, text: str, jobs: Sequence[Job], each: int = 3) -> dict[UUID, list[Excerpt]]:
    """The first segments of each job that find_jobs finds it by, in order of time; none where its name was found."""
    found: dict[UUID, list[Excerpt]] = {job.pk: [] for job in jobs}
    words = _words(_printable(text))
    if not words or not found:
        return found
    place = Window(RowNumber(), partition_by="job", order_by=("start", "pk"))
    segments = _holding(words).filter(job__in=found).annotate(place=place).filter(place__lte=each)
    hit = _pattern_of_hits(words)
    for segment in segments.only("job_id", "start", "text").order_by("start", "pk"):
        parts = tuple(_parts(segment.text, hit))
        found[segment.job_id].append(Excerpt(segment.pk, segment.start, parts))
    return found


# ---- What is looked for


def _printable(text: str) -> str:
    """The text as it may be in the database: composed, without what cannot be stored."""
    text = text.replace("\0", " ").strip()[:LONGEST_TEXT].encode(errors="ignore").decode()
    return unicodedata.normalize("NFC", text).strip()


def _words(text: str) -> list[str]:
    """What stands between blanks and has a letter or digit: all else is not in the index."""
    return [word for word in text.split() if any(map(str.isalnum, word))]


def _unspaced(words: Sequence[str]) -> bool:
    return any(UNSPACED.search(word) for word in words)


def _holding(words: Sequence[str]) -> QuerySet[Segment]:
    """Segments with all the words, of which the last may be the beginning of one.

    Of a script without blanks the index has whole clauses for words, so their text itself is searched.
    """
    if _unspaced(words):
        return Segment.objects.filter(*(Q(text__icontains=word) for word in words))
    if connection.vendor == "sqlite":
        quoted = ('"' + word.replace('"', '""') + '"' for word in words)  # so none is an operator
        matching = RawSQL(  # what people type is a parameter
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


def _pattern_of_name(text: str) -> str:
    """What is typed is composed, what some systems name files is not. (SQLite's LIKE knows the case of ASCII alone.)"""
    forms = (text, unicodedata.normalize("NFD", text))
    return "|".join(re.escape(form) for form in dict.fromkeys(forms))


# ---- Excerpts


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What hits look like in a text that was folded."""

    hit: re.Pattern[str]
    keep_marks: bool

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where hits begin and end in the text, from left to right."""
        folded, origins = [], []
        for index, letter in enumerate(text):
            same = _folded(letter, keep_marks=self.keep_marks)
            folded.append(same)
            origins += [index] * len(same)
        origins.append(len(text))
        return [
            (origins[hit.start()], origins[hit.end()]) for hit in self.hit.finditer("".join(folded))
        ]


def _pattern_of_hits(words: Sequence[str]) -> _Pattern:
    """Much as the index tells words apart. It may differ over rare letters: then a hit is not marked."""
    keep_marks = _unspaced(words)
    folded = [_folded(word, keep_marks=keep_marks) for word in words]
    if keep_marks:
        return _Pattern(re.compile("|".join(map(re.escape, folded))), keep_marks)
    runs = [r"[\W_]+".join(re.findall(r"[^\W_]+", word)) for word in folded]
    runs[-1] += r"[^\W_]*"
    either = "|".join(sorted(runs, key=len, reverse=True))
    return _Pattern(re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])"), keep_marks)


def _folded(text: str, *, keep_marks: bool) -> str:
    if not keep_marks:
        letters = unicodedata.normalize("NFD", text)
        text = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", text).lower()


def _parts(text: str, pattern: _Pattern) -> Iterator[Part]:
    """The text around its first hit, cut between words where there are blanks."""
    spans = pattern.spans(text)
    first, last = spans[0] if spans else (0, 0)
    begin = max(first - LEAD, 0)
    begin = begin and (text.find(" ", begin, first) + 1 or begin)
    end = max(begin + EXCERPT, last)
    if end < len(text):
        end = max(text.rfind(" ", last, end), last) if " " in text[last:end] else end
    done = begin
    if begin > 0:
        yield "…", False
    for start, stop in spans:
        if stop > end:
            break
        if done < start:
            yield text[done:start], False
        yield text[start:stop], True
        done = stop
    rest = text[done:end] + ("…" if end < len(text) else "")
    if rest:
        yield rest, False


# ---- The index


_SQLITE = {
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
"""What SQLite has to have, by name, in the very words that it remembers."""


def ensure_index(*, using: str = DEFAULT_DB_ALIAS) -> None:
    """Make the index, of all segments that there are, unless it is there and as it should be."""
    with transaction.atomic(using=using):
        if connections[using].vendor == "sqlite":
            _ensure_sqlite_index(using)
        else:
            _ensure_postgresql_index(using)


def _ensure_sqlite_index(using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master")
        there = dict(cursor.fetchall())
        if all(there.get(name) == sql.strip() for name, sql in _SQLITE.items()):
            return
        # Rows may have come and gone unseen: all is made anew.
        for name in _SQLITE:
            cursor.execute(f"DROP {'TABLE' if name == INDEX else 'TRIGGER'} IF EXISTS {name}")
        if SEGMENTS not in there:  # all migrations were taken back
            return
        for sql in _SQLITE.values():
            cursor.execute(sql)
        cursor.execute(
            "INSERT INTO transcription_segment_text (transcription_segment_text) VALUES ('rebuild')"
        )


def _ensure_postgresql_index(using: str) -> None:
    from django.contrib.postgres.indexes import GinIndex
    from django.contrib.postgres.search import SearchVector

    connection = connections[using]
    with connection.cursor() as cursor:
        if SEGMENTS not in connection.introspection.table_names(cursor):
            return
        if INDEX in connection.introspection.get_constraints(cursor, SEGMENTS):
            return
    with connection.schema_editor() as editor:
        editor.add_index(Segment, GinIndex(SearchVector("text", config="simple"), name=INDEX))
