"""URLs of the site. The middleware resolves them with and without a trailing slash."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.urls import page_urlpatterns as account_urlpatterns
from transcriber_site import views
from transcription.urls import page_urlpatterns

urlpatterns = [
    path("", views.root, name="root"),
    path("health", views.health, name="health"),
    path("health/ready", views.ready, name="ready"),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/transcribe/", include("transcription.urls")),
    path("api/chat/", include("chat.urls")),
    path("api/summary/", include("summaries.urls")),
    path("api/retranslate/", include("retranslation.urls")),
    path("api/accounts/", include("accounts.urls")),
    path("app/", include(page_urlpatterns)),
    path("accounts/", include(account_urlpatterns)),
    path("admin/", admin.site.urls),
]

handler400 = "transcriber_site.errors.bad_request"
handler403 = "transcriber_site.errors.permission_denied"
handler404 = "transcriber_site.errors.not_found"
handler500 = "transcriber_site.errors.server_error"
