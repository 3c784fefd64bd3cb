"""The API of edits by hand: validate, call one function of `services`, answer with what changed."""

from collections.abc import Callable
from typing import Any

from django.db.models import Prefetch, prefetch_related_objects
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError

from transcription.editing import serializers as shapes
from transcription.editing import services
from transcription.editing.changes import ConflictError
from transcription.models import Edit, Job, Segment, SegmentEdit
from transcription.request_checks import Conflict, find_job, requester, validate
from transcription.serializers import Problem, SegmentWithWords
from transcription.transcript.segments import segment_object
from transcription.transcript.word_alignment import segment_with_words

MOST_CHANGES = 20
"""Of one edit: who renames a speaker changes thousands of segments, each in the same way."""
FIRST_CHANGES = Prefetch(
    "changes", SegmentEdit.objects.order_by("pk")[:MOST_CHANGES], to_attr="first_changes"
)
SHOWN_FIELDS = ("start", "end", "text", "speaker")
PROBLEMS: dict[int, Any] = dict.fromkeys((400, 404, 409), Problem)
EDITED: dict[int, Any] = {200: shapes.Edited, **PROBLEMS}


@extend_schema(methods=["GET"], request=None, responses={200: SegmentWithWords, 404: Problem})
@extend_schema(methods=["PATCH"], request=shapes.SegmentWish, responses=EDITED)
@extend_schema(methods=["DELETE"], request=None, parameters=[shapes.RemoveQuery], responses=EDITED)
@api_view(["GET", "HEAD", "PATCH", "DELETE"])
def segment(request: Request, segment_id: int) -> Response:
    """One segment with its words; give it another text or speaker; take it out of the transcript."""
    if request.method == "PATCH":
        wish = validate(shapes.SegmentWish, request.data)
        return _edited(request, services.change, segment_id=segment_id, **wish)
    if request.method == "DELETE":
        seen = {"text": validate(shapes.RemoveQuery, request.query_params)["was"]}
        return _edited(request, services.remove, segment_id=segment_id, was=seen)
    found = Segment.objects.filter(pk=segment_id).first()
    if found is None:
        raise _gone()
    return Response(segment_with_words(found))


@extend_schema(request=shapes.Split, responses=EDITED)
@api_view(["POST"])
def split(request: Request, segment_id: int) -> Response:
    """Cut a segment in two."""
    wish = validate(shapes.Split, request.data)
    return _edited(request, services.split, segment_id=segment_id, **wish)


@extend_schema(request=shapes.Merge, responses=EDITED)
@api_view(["POST"])
def merge(request: Request, segment_id: int) -> Response:
    """Join a segment with the one that follows."""
    wish = validate(shapes.Merge, request.data)
    following = wish["next"]
    return _edited(
        request,
        services.merge,
        segment_id=segment_id,
        was=wish["was"],
        next_id=following.pop("id"),
        next_was=following,
    )


@extend_schema(request=shapes.Rename, responses=EDITED)
@api_view(["POST"])
def rename_speaker(request: Request, job_id: str) -> Response:
    """Call a speaker something else everywhere."""
    job, wish = find_job(job_id), validate(shapes.Rename, request.data)
    return _edited(request, services.rename, job_id=job.pk, name=wish["from"], new_name=wish["to"])


@extend_schema(
    parameters=[shapes.EditsQuery], responses={200: shapes.Edits, 400: Problem, 404: Problem}
)
@api_view(["GET", "HEAD"])
def list_edits(request: Request, job_id: str) -> Response:
    """What was edited in a transcript, or in one of its segments, the newest first."""
    job, query = find_job(job_id), validate(shapes.EditsQuery, request.query_params)
    edits = services.history(job=job, segment_id=query.get("segment_id"))
    documents = [
        _document(edit) for edit in edits.prefetch_related(FIRST_CHANGES)[: query["limit"]]
    ]
    return Response({"edits": documents, "count": len(documents), "revision": job.revision})


@extend_schema(request=None, responses=EDITED)
@api_view(["POST"])
def undo(request: Request, job_id: str, edit_id: int) -> Response:
    """Take an edit back."""
    job = find_job(job_id)
    return _edited(request, services.undo, job_id=job.pk, edit_id=edit_id)


def _edited(request: Request, edit: Callable[..., services.Edited], **wish: Any) -> Response:
    try:
        done = edit(**wish, done_by=requester(request))
    except services.NotPossibleError as error:
        raise ValidationError(str(error)) from error
    except ConflictError as error:
        raise Conflict(str(error)) from error
    except Segment.DoesNotExist:
        raise _gone() from None
    except Edit.DoesNotExist:
        raise Http404("Edit not found") from None
    except Job.DoesNotExist:  # deleted meanwhile
        raise Http404("Transcription job not found or expired") from None
    is_renaming = done.edit is not None and done.edit.kind == Edit.Kind.RENAME
    shape = segment_object if is_renaming else segment_with_words
    return Response(
        {
            "edit": done.edit and _document(_with_changes(done.edit)),
            "segments": [shape(one) for one in done.segments],
            "removed": done.removed,
            "revision": done.revision,
        }
    )


def _gone() -> Http404:
    return Http404("Segment not found: it was removed, or the job was begun again.")


def _with_changes(edit: Edit) -> Edit:
    prefetch_related_objects([edit], FIRST_CHANGES)
    return edit


def _document(edit: Edit) -> dict[str, Any]:
    changes: list[SegmentEdit] = edit.first_changes  # type: ignore[attr-defined]  # prefetched
    return {
        "id": edit.pk,
        "kind": edit.kind,
        "summary": edit.summary,
        "done_by": edit.done_by,
        "created_at": edit.created_at.timestamp(),
        "undone_by": edit.undone_by,
        "undone_at": edit.undone_at and edit.undone_at.timestamp(),
        "segment_ids": [change.segment_pk for change in changes],
        "changes": [
            {
                "segment_id": change.segment_pk,
                "before": _shown(change.before),
                "after": _shown(change.after),
            }
            for change in changes
        ],
    }


def _shown(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    return {name: fields[name] for name in SHOWN_FIELDS if name in fields}
