"""The web process: HTTP to Django, WebSockets to the consumers."""

import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.core.asgi import get_asgi_application

from transcriber_site.daphne_uploads import keep_out_of_memory

keep_out_of_memory()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcriber_site.settings")
django_application = get_asgi_application()  # sets Django up: what follows needs its apps

from django.conf import settings  # noqa: E402
from transcription.consumers import websocket_urlpatterns  # noqa: E402


class BrowserOriginValidator(OriginValidator):  # type: ignore[misc]  # channels is untyped
    """Lets in browsers from allowed origins, and clients that are no browsers (they send none)."""

    def valid_origin(self, parsed_origin: Any) -> bool:
        return parsed_origin is None or bool(super().valid_origin(parsed_origin))


sockets = URLRouter(websocket_urlpatterns)
if not settings.CORS_ALLOW_ALL_ORIGINS:
    sockets = BrowserOriginValidator(sockets, settings.CORS_ALLOWED_ORIGINS)

application = ProtocolTypeRouter({"http": django_application, "websocket": sockets})
