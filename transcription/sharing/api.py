"""The API of sharing, for the owner of a recording."""

import logging
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, status
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from transcription import access, hooks
from transcription.models import Recording, Share, ShareLink
from transcription.request_checks import Conflict, find_job, requester, validate
from transcription.serializers import Problem
from transcription.sharing import links, serializers, services

NEEDS_ACCOUNTS = (
    "Sharing needs accounts, which are off: everybody who reaches this service sees all recordings. "
    "Its administrator turns them on with TRANSCRIBER_ACCOUNTS=required."
)
ERRORS: dict[int, Any] = dict.fromkeys((401, 403, 404, 409), Problem)
_logger = logging.getLogger(__name__)


def _find_own(job_id: str) -> Recording:
    """The recording of a job, if it belongs to who asks. Raises Http404, PermissionDenied, or Conflict.

    A conflict if accounts are off: the job is there, unlike for a 404; what stands against it is the service's state.
    """
    recording = find_job(job_id).recording
    if settings.TRANSCRIBER_ACCOUNTS == "off":
        raise Conflict(NEEDS_ACCOUNTS)
    access.refuse_but_owner(recording, to="share")
    return recording


# ---- People and groups


@extend_schema(methods=["GET"], responses={200: serializers.Shares, **ERRORS})
@extend_schema(
    methods=["POST"],
    request=serializers.ShareWish,
    responses={200: serializers.Share, 400: Problem, **ERRORS, 429: Problem},
)
@api_view(["GET", "HEAD", "POST"])
def shares(request: Request, job_id: str) -> Response:
    """List with whom a recording is shared; share it with a person or a group, or change their role."""
    recording = _find_own(job_id)
    if request.method != "POST":
        rows = services.list_shares(recording=recording)
        documents = [_share_document(row) for row in rows]
        return Response({"shares": documents, "count": len(documents)})
    data = validate(serializers.ShareWish, request.data)
    field = "user" if "user" in data else "group"
    service = services.share_with_person if field == "user" else services.share_with_group
    try:
        row = service(recording=recording, name=data[field], role=Share.Role(data["role"]))
    except services.UnknownNameError as error:
        raise exceptions.ValidationError({field: [str(error)]}) from error
    except services.TooManyNamesError as error:
        raise _TooManyNames(services.UNKNOWN_NAMES_PERIOD.total_seconds(), str(error)) from error
    _report(request, hooks.SHARE, row, recording)
    return Response(_share_document(row))


@extend_schema(
    methods=["PATCH"],
    request=serializers.Role,
    responses={200: serializers.Share, 400: Problem, **ERRORS},
)
@extend_schema(methods=["DELETE"], request=None, responses={204: None, **ERRORS})
@api_view(["PATCH", "DELETE"])
def share(request: Request, job_id: str, share_id: int) -> Response:
    """Change the role of those with whom a recording is shared; share it with them no longer."""
    recording = _find_own(job_id)
    if request.method == "DELETE":
        ended = services.end_share(recording=recording, share_id=share_id)
        if ended is None:
            raise Http404("The recording is not shared so (any more).")
        _report(request, hooks.UNSHARE, ended, recording)
        return Response(status=status.HTTP_204_NO_CONTENT)
    data = validate(serializers.Role, request.data)
    role = Share.Role(data["role"])
    row = services.change_role(recording=recording, share_id=share_id, role=role)
    if row is None:
        raise Http404("The recording is not shared so (any more).")
    _report(request, hooks.SHARE, row, recording)
    return Response(_share_document(row))


def _share_document(row: Share) -> dict[str, Any]:
    return {
        "id": row.pk,
        "user": row.user and row.user.get_username(),
        "group": row.group and row.group.name,
        "role": row.role,
        "created_at": row.created_at.timestamp(),
    }


class _TooManyNames(exceptions.Throttled):
    def __init__(self, wait: float, detail: str) -> None:
        super().__init__(wait=wait)  # makes the answer's Retry-After
        self.detail = exceptions.ErrorDetail(detail)


# ---- Links


@extend_schema(methods=["GET"], responses={200: serializers.Links, **ERRORS})
@extend_schema(
    methods=["POST"],
    request=serializers.LinkWish,
    responses={200: serializers.NewLink, 400: Problem, **ERRORS},
)
@api_view(["GET", "HEAD", "POST"])
def share_links(request: Request, job_id: str) -> Response:
    """List the share links of a recording that still work; make one, whose address is shown this once."""
    recording = _find_own(job_id)
    if request.method != "POST":
        documents = [_link_document(row) for row in links.list_links(recording=recording)]
        return Response({"links": documents, "count": len(documents)})
    data = validate(serializers.LinkWish, request.data)
    link, token = links.create_link(recording=recording, **data)
    _report(request, hooks.MAKE_LINK, link, recording)
    url = request.build_absolute_uri(reverse("shared", args=[token]))
    response = Response({**_link_document(link), "url": url})
    response["Cache-Control"] = "no-store"
    return response


@extend_schema(request=None, responses={204: None, **ERRORS})
@api_view(["DELETE"])
def share_link(request: Request, job_id: str, link_id: UUID) -> Response:
    """Revoke a share link: it works no longer, not even where it was opened before."""
    recording = _find_own(job_id)
    link = links.revoke_link(recording=recording, link_id=link_id)
    if link is None:
        raise Http404("There is no such link, or it was revoked before.")
    _report(request, hooks.REVOKE_LINK, link, recording)
    return Response(status=status.HTTP_204_NO_CONTENT)


def _link_document(row: ShareLink) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "note": row.note,
        "allows_chat": row.allows_chat,
        "created_at": row.created_at.timestamp(),
        "expires_at": row.expires_at.timestamp(),
    }


def _report(request: Request, action: str, row: Share | ShareLink, recording: Recording) -> None:
    _logger.info("Recording %s: %s by %s", recording.pk, action, requester(request))
    hooks.report(request._request, action, row, owner_id=recording.owner_id)
