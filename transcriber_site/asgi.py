"""The web process: HTTP to Django, WebSockets to the consumers."""

import os

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcriber_site.settings")
django.setup(set_prefix=False)  # the imports below need the app registry

from django.urls import re_path  # noqa: E402

from accounts.sockets import with_access  # noqa: E402
from transcriber_site.admission import AdmittedSockets  # noqa: E402
from transcriber_site.bodies import UploadHandler  # noqa: E402
from transcriber_site.proxies import Forwarded  # noqa: E402
from transcription.live.consumers import websocket_urlpatterns  # noqa: E402


class UnknownPathConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is untyped
    """Rejects connections to unknown paths; URLRouter alone logs a traceback for each."""

    async def connect(self) -> None:
        await self.close()


sockets = with_access(
    URLRouter([*websocket_urlpatterns, re_path("", UnknownPathConsumer.as_asgi())])
)
application = Forwarded(
    ProtocolTypeRouter({"http": UploadHandler(), "websocket": AdmittedSockets(sockets)})
)
