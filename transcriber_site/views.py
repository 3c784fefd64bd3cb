import time
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from transcriber_site import __version__, readiness


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
    database = serializers.DictField()
    queue = serializers.DictField(help_text="Queued messages, by role.")
    disk = serializers.ListField(child=serializers.DictField())
    workers = serializers.DictField(
        help_text="How many sent a heartbeat within the last minute, by role."
    )
    seen = serializers.ListField(child=serializers.DictField())
    models = serializers.ListField(
        child=serializers.CharField(), help_text="Models that workers have loaded."
    )
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="Problems that do not stop the service."
    )


@extend_schema(tags=["service"], responses={200: Readiness, 503: Readiness})
@api_view(["GET", "HEAD"])
def ready(request: Request) -> Response:
    """Whether the service can do its work; 503 with the reasons if it cannot."""
    state = readiness.check_readiness()
    document = {"status": "ready", "timestamp": time.time(), **state.parts}
    document["warnings"] = state.warnings
    if not state.problems and not state.starting:
        return Response(document)
    detail = " ".join(state.problems + state.starting + state.warnings)
    document |= {"status": "not ready" if state.problems else "starting", "detail": detail}
    response = Response(document, status=status.HTTP_503_SERVICE_UNAVAILABLE)
    # Probes ask every few seconds, and the response has the details: no log line.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


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
