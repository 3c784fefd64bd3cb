"""The page behind a share link: it leads to the review page, by a cookie instead of the token in its address."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from transcription import access, hooks
from transcription.models import Job, ShareLink
from transcription.sharing import links


@require_safe
def open_link(request: HttpRequest, token: str) -> HttpResponse:
    """Exchange a link's token for a cookie of its recording; 404 if the link does not work (any more)."""
    link = links.find_by_token(token)
    job_id = link and _latest_job(link)
    if link is None or job_id is None:
        response = render(request, "transcription/link_not_valid.html", status=404)
    else:
        response = redirect("review", job_id)
        _set_cookie(request, response, link)
        hooks.report(request, hooks.OPEN_LINK, link)
    # The address holds the token: let it be in no cache, and in no Referer of what the page loads.
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"
    return response


@access.as_service()
def _latest_job(link: ShareLink) -> object:
    jobs = Job.objects.filter(recording=link.recording_id).order_by("-created_at", "-pk")
    return jobs.values_list("pk", flat=True).first()


def _set_cookie(request: HttpRequest, response: HttpResponse, link: ShareLink) -> None:
    name, value = links.cookie_of(link)
    for other in links.surplus_cookies(request.COOKIES, name=name):
        response.delete_cookie(other, samesite="Lax")
    response.set_cookie(
        name,
        value,
        expires=link.expires_at,
        secure=request.is_secure() or settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",  # the first visit comes from another site, such as a mail
    )
