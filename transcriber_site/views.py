import time
from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from transcriber_site import __version__, readiness
from transcription import access


@extend_schema(
    tags=["service"],
    responses=inline_serializer(
        "Health", {"status": serializers.CharField(), "timestamp": serializers.FloatField()}
    ),
)
@api_view(["GET", "HEAD"])
def health(request: Request) -> Response:
    """Whether the web process answers."""
    return Response({"status": "healthy", "timestamp": time.time()})


class Readiness(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ready", "starting", "not ready"])
    timestamp = serializers.FloatField()
    detail = serializers.CharField(required=False, help_text="The problems and warnings, if any.")
    database = serializers.DictField(required=False)
    queue = serializers.DictField(required=False, help_text="Queued messages, by role.")
    disk = serializers.ListField(required=False, child=serializers.DictField())
    workers = serializers.DictField(
        required=False, help_text="How many sent a heartbeat within the last minute, by role."
    )
    seen = serializers.ListField(required=False, child=serializers.DictField())
    models = serializers.ListField(
        required=False,
        child=serializers.CharField(),
        help_text="Models that workers have loaded.",
    )
    warnings = serializers.ListField(
        required=False,
        child=serializers.CharField(),
        help_text="Problems that do not stop the service.",
    )


@extend_schema(tags=["service"], responses={200: Readiness, 503: Readiness})
@api_view(["GET", "HEAD"])
def ready(request: Request) -> Response:
    """Whether the service can do its work; 503 if it cannot.

    The reasons and all parts come with it: with accounts on, for administrators alone.
    """
    state = readiness.check_readiness()
    is_ready = not state.problems and not state.starting
    document = {"status": _status(state), "timestamp": time.time()}
    if _may_see_details(request):
        document |= {**state.parts, "warnings": state.warnings}
        if not is_ready:
            document["detail"] = " ".join(state.problems + state.starting + state.warnings)
    if is_ready:
        return Response(document)
    response = Response(document, status=status.HTTP_503_SERVICE_UNAVAILABLE)
    # Probes ask every few seconds, and the response has the details: no log line.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _status(state: readiness.Readiness) -> str:
    if state.problems:
        return "not ready"
    return "starting" if state.starting else "ready"


def _may_see_details(request: Request) -> bool:
    """Folders, machines and models are nobody's business but the operator's."""
    if settings.TRANSCRIBER_ACCOUNTS == "off":
        return True
    return bool(access.person_of(request._request).is_superuser)


@extend_schema(
    tags=["service"],
    responses=inline_serializer(
        "Service",
        {
            "name": serializers.CharField(),
            "version": serializers.CharField(),
            "endpoints": serializers.DictField(child=serializers.CharField()),
        },
    ),
)
@api_view(["GET", "HEAD"])
def root(request: Request) -> Response:
    """The service's name, version and endpoints."""
    endpoints = {
        "transcribe": "/api/transcribe/",
        "models": "/api/transcribe/models",
        "jobs": "/api/transcribe/jobs",
        "summary": "/api/summary/",
        "chat": "/api/chat/",
        "chat_models": "/api/chat/models",
        "retranslate": "/api/retranslate/",
        "health": reverse("health"),
        "ready": reverse("ready"),
        "schema": reverse("schema"),
        "docs": reverse("docs"),
        "app": reverse("app"),
        "admin": reverse("admin:index"),
    }
    return Response({"name": "Transcriber", "version": __version__, "endpoints": endpoints})
