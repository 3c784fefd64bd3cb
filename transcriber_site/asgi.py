"""The web process: HTTP to Django, WebSockets to the consumers."""

import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcriber_site.settings")
django.setup(set_prefix=False)  # the imports below need the app registry

from django.conf import settings  # noqa: E402
from django.urls import re_path  # noqa: E402

from accounts.sockets import with_access  # noqa: E402
from transcriber_site.bodies import UploadHandler  # noqa: E402
from transcription.live.consumers import websocket_urlpatterns  # noqa: E402


class BrowserOriginValidator(OriginValidator):  # type: ignore[misc]  # channels is untyped
    """Accepts allowed origins, and requests without an Origin header: clients other than browsers."""

    def valid_origin(self, parsed_origin: Any) -> bool:
        return parsed_origin is None or bool(super().valid_origin(parsed_origin))


class UnknownPathConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is untyped
    """Rejects connections to unknown paths; URLRouter alone logs a traceback for each."""

    async def connect(self) -> None:
        await self.close()


sockets = with_access(
    URLRouter([*websocket_urlpatterns, re_path("", UnknownPathConsumer.as_asgi())])
)
if not settings.CORS_ALLOW_ALL_ORIGINS:
    sockets = BrowserOriginValidator(sockets, settings.CORS_ALLOWED_ORIGINS)

application = ProtocolTypeRouter({"http": UploadHandler(), "websocket": sockets})
