"""What happens when somebody has signed in; the admin's sign-in is that of all pages."""

from collections.abc import Callable
from typing import Any

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse

from accounts.notices import take_notices


def show_notices(*, request: HttpRequest, user: User, **_: Any) -> None:
    for text in take_notices(user):
        messages.warning(request, text)


def admin_sign_in(admin_login: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The admin's own page asks for no second factor: with accounts, the page for everybody takes its place."""
    for_everybody = secure_admin_login(admin_login)

    def sign_in(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        view = admin_login if settings.TRANSCRIBER_ACCOUNTS == "off" else for_everybody
        response: HttpResponse = view(request, *args, **kwargs)
        return response

    return sign_in
