"""The API of edits: each view validates the request, calls one function of `services` and returns what changed."""

from collections.abc import Callable
from typing import Any

from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError

from transcription import access, hooks
from transcription.editing import serializers, services
from transcription.editing.changes import ConflictError
from transcription.models import Edit, Job, Segment, SegmentEdit
from transcription.parsers import JSON_BODY, takes_body
from transcription.request_checks import Conflict, find_job, requester, validate
from transcription.serializers import Problem, SegmentWithWords
from transcription.transcript.segments import segment_object
from transcription.transcript.word_alignment import segment_with_words

MAX_CHANGES = 20
"""Changes returned per edit: renaming a speaker changes thousands of segments, all in the same way."""
PUBLIC_FIELDS = ("start", "end", "text", "speaker")
ERRORS: dict[int, Any] = dict.fromkeys((400, 404, 409), Problem)
EDIT_RESPONSES: dict[int, Any] = {200: serializers.Edited, **ERRORS}


@takes_body(JSON_BODY)
@extend_schema(methods=["GET"], request=None, responses={200: SegmentWithWords, 404: Problem})
@extend_schema(methods=["PATCH"], request=serializers.SegmentWish, responses=EDIT_RESPONSES)
@extend_schema(
    methods=["DELETE"], request=None, parameters=[serializers.RemoveQuery], responses=EDIT_RESPONSES
)
@api_view(["GET", "HEAD", "PATCH", "DELETE"])
def segment(request: Request, segment_id: int) -> Response:
    """Return a segment with its words; change its text or speaker; remove it from the transcript."""
    if request.method == "PATCH":
        data = validate(serializers.SegmentWish, request.data)
        return _edit(request, services.change, segment_id=segment_id, **data)
    if request.method == "DELETE":
        query = validate(serializers.RemoveQuery, request.query_params)
        was = {"text": query["was"]}
        return _edit(request, services.remove, segment_id=segment_id, was=was)
    row = Segment.objects.filter(pk=segment_id).first()
    if row is None:
        raise _segment_not_found()
    hooks.report(None, hooks.READ, row.job)
    return Response(segment_with_words(row))


@takes_body(JSON_BODY)
@extend_schema(request=serializers.Split, responses=EDIT_RESPONSES)
@api_view(["POST"])
def split(request: Request, segment_id: int) -> Response:
    """Split a segment in two."""
    data = validate(serializers.Split, request.data)
    return _edit(request, services.split, segment_id=segment_id, **data)


@takes_body(JSON_BODY)
@extend_schema(request=serializers.Merge, responses=EDIT_RESPONSES)
@api_view(["POST"])
def merge(request: Request, segment_id: int) -> Response:
    """Merge a segment with the next one."""
    data = validate(serializers.Merge, request.data)
    following = data["next"]
    return _edit(
        request,
        services.merge,
        segment_id=segment_id,
        was=data["was"],
        next_id=following.pop("id"),
        next_was=following,
    )


@extend_schema(request=serializers.Rename, responses=EDIT_RESPONSES)
@api_view(["POST"])
def rename_speaker(request: Request, job_id: str) -> Response:
    """Rename a speaker in the whole transcript."""
    job, data = find_job(job_id), validate(serializers.Rename, request.data)
    return _edit(request, services.rename, job_id=job.pk, name=data["from"], new_name=data["to"])


@extend_schema(
    parameters=[serializers.EditsQuery],
    responses={200: serializers.Edits, 400: Problem, 404: Problem},
)
@api_view(["GET", "HEAD"])
def list_edits(request: Request, job_id: str) -> Response:
    """List the edits of a transcript, or of one of its segments, newest first."""
    job, query = find_job(job_id), validate(serializers.EditsQuery, request.query_params)
    edits = services.history(job=job, segment_id=query.get("segment_id"))
    page = edits.prefetch_related(_first_changes())[: query["limit"]]
    documents = [_edit_document(edit) for edit in page]
    return Response({"edits": documents, "count": len(documents), "revision": job.revision})


@extend_schema(request=None, responses=EDIT_RESPONSES)
@api_view(["POST"])
def undo(request: Request, job_id: str, edit_id: int) -> Response:
    """Undo an edit."""
    job = find_job(job_id)
    return _edit(request, services.undo, job_id=job.pk, edit_id=edit_id)


def _edit(request: Request, service: Callable[..., services.Edited], **arguments: Any) -> Response:
    """Call the service, and respond with the edit and the changed segments, or with 400, 404 or 409."""
    try:
        edited = service(**arguments, done_by=requester(request))
    except services.UnknownSpeakerError as error:
        raise ValidationError(str(error)) from error
    except ConflictError as error:
        raise Conflict(str(error)) from error
    except Segment.DoesNotExist:
        access.refuse_readers(Segment, pk=arguments.get("segment_id"))
        raise _segment_not_found() from None
    except Edit.DoesNotExist:
        raise Http404("Edit not found") from None
    except Job.DoesNotExist:  # deleted meanwhile
        raise Http404("Transcription job not found or expired") from None
    if edited.edit is not None:
        hooks.report(request._request, hooks.EDIT, edited.edit.job)
    is_rename = edited.edit is not None and edited.edit.kind == Edit.Kind.RENAME
    document = segment_object if is_rename else segment_with_words
    return Response(
        {
            "edit": edited.edit and _edit_document(_with_changes(edited.edit)),
            "segments": [document(segment) for segment in edited.segments],
            "removed": edited.removed,
            "revision": edited.revision,
        }
    )


def _segment_not_found() -> Http404:
    return Http404("Segment not found: it was removed, or the job was restarted.")


def _first_changes() -> "Prefetch[str, QuerySet[SegmentEdit], str]":
    rows = SegmentEdit.objects.order_by("pk")[:MAX_CHANGES]
    return Prefetch("changes", rows, to_attr="first_changes")


def _with_changes(edit: Edit) -> Edit:
    prefetch_related_objects([edit], _first_changes())
    return edit


def _edit_document(edit: Edit) -> dict[str, Any]:
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
                "before": _public_fields(change.before),
                "after": _public_fields(change.after),
            }
            for change in changes
        ],
    }


def _public_fields(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    return {name: fields[name] for name in PUBLIC_FIELDS if name in fields}
