import time

from django.urls import reverse
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from transcriber_site import __version__


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
    """What this service is, and where its parts are."""
    endpoints = {
        "transcribe": "/api/transcribe/",
        "models": "/api/transcribe/models",
        "jobs": "/api/transcribe/jobs",
        "summary": "/api/summary/",
        "chat": "/api/chat/",
        "chat_models": "/api/chat/models",
        "retranslate": "/api/retranslate/",
        "health": reverse("health"),
        "schema": reverse("schema"),
        "docs": reverse("docs"),
        "app": reverse("app"),
        "admin": reverse("admin:index"),
    }
    return Response({"name": "Transcriber", "version": __version__, "endpoints": endpoints})
