"""Pages about people: profile, API tokens, links that are used once, and the list of people for administrators."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from uuid import UUID

from allauth.account.adapter import get_adapter
from allauth.account.decorators import reauthentication_required
from allauth.account.utils import perform_login
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import one_time_links, people, tokens
from accounts.forms import (
    GroupsForm,
    InvitationForm,
    JoinForm,
    NewPasswordForm,
    TokenForm,
    all_group_names,
    split_names,
)
from accounts.models import OneTimeLink

LINK = "one_time_link"
"""The session's key of the link that was opened: the address, with its token, is left at once."""
DEAD_LINK = "This link was used already, or has expired. Ask for a new one."
View = Callable[..., HttpResponse]


def for_administrators(view: View) -> View:
    """Decorate a view: only administrators get it; what changes somebody asks for the password or second factor again.

    Who has neither, because a provider signs them in, is not asked.
    """

    @wraps(view)
    def check(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not people.is_administrator(request.user):
            raise PermissionDenied("Only administrators may see and change people.")
        response: HttpResponse = confirmed(request, *args, **kwargs)
        return response

    confirmed = reauthentication_required(view, allow_get=True, enabled=_can_confirm)
    return never_cache(check)


def _can_confirm(request: HttpRequest) -> bool:
    return bool(get_adapter().get_reauthentication_methods(request.user))


# ---- Profile


@never_cache
@require_safe
def profile(request: HttpRequest) -> HttpResponse:
    return _profile(request, TokenForm())


def _profile(request: HttpRequest, form: BaseForm, new_token: str = "") -> HttpResponse:
    context = {
        "tokens": tokens.list_tokens(request.user),
        "form": form,
        "new_token": new_token,
        "has_second_factor": Authenticator.objects.filter(user=_person(request)).exists(),
        "groups": list(_person(request).groups.order_by("name")),
    }
    return render(request, "accounts/profile.html", context, status=400 if form.errors else 200)


@never_cache
@require_POST
def create_token(request: HttpRequest) -> HttpResponse:
    """Show the new token in the answer itself: it is stored nowhere, so no other page could show it."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _profile(request, form)
    try:
        _, text = tokens.create_token(request=request, person=_person(request), **form.cleaned_data)
    except tokens.TooManyTokensError:
        form.add_error(None, f"You have {tokens.MAX_PER_PERSON} tokens. Revoke one first.")
        return _profile(request, form)
    return _profile(request, TokenForm(), new_token=text)


@require_POST
def revoke_token(request: HttpRequest, public_id: UUID) -> HttpResponse:
    if not tokens.revoke_token(request=request, person=_person(request), public_id=public_id):
        raise Http404("You have no such token.")
    messages.success(request, "The token is revoked.")
    return redirect("profile")


# ---- Links that are used once


@never_cache
@require_safe
def open_link(request: HttpRequest, token: str) -> HttpResponse:
    """Remember the link in the session, and leave its address: the token stands in no Referer and no bookmark."""
    link = one_time_links.find_link(token)
    if link is None:
        return _dead_link(request)
    request.session[LINK] = link.pk
    return redirect("use-one-time-link")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def use_link(request: HttpRequest) -> HttpResponse:
    link = one_time_links.find_usable(request.session.get(LINK))
    if link is None:
        return _dead_link(request)
    form = _link_form(link, request.POST if request.method == "POST" else None)
    try:
        if request.method == "POST" and form.is_valid():
            return _use_link(request, link, form)
    except one_time_links.LinkUsedError:
        return _dead_link(request)
    except IntegrityError:  # another link was used for this name at the same moment
        form.add_error("username", "Somebody has this name by now. Choose another one.")
    context = {"link": link, "form": form}
    return render(request, "accounts/use_link.html", context, status=400 if form.errors else 200)


def _link_form(link: OneTimeLink, data: Any) -> BaseForm:
    if link.purpose == OneTimeLink.Purpose.RESET:
        assert link.person is not None, "a constraint of the table says so"
        return NewPasswordForm(link.person, data)
    return JoinForm(data)


def _use_link(request: HttpRequest, link: OneTimeLink, form: BaseForm) -> HttpResponse:
    if link.purpose == OneTimeLink.Purpose.RESET:
        request.session.pop(LINK, None)
        one_time_links.reset_password(
            request=request, link=link, password=form.cleaned_data["new_password1"]
        )
        messages.success(request, "Your new password is set. Sign in with it.")
        return redirect("account_login")
    person = one_time_links.join(
        request=request,
        link=link,
        username=form.cleaned_data["username"],
        password=form.cleaned_data["password1"],
    )
    request.session.pop(LINK, None)
    response: HttpResponse = perform_login(request, person)
    return response


def _dead_link(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/message.html", {"text": DEAD_LINK}, status=404)


# ---- People, for administrators


@for_administrators
@require_safe
def list_people(request: HttpRequest) -> HttpResponse:
    return _people(request, InvitationForm())


def _people(
    request: HttpRequest, form: BaseForm, link: str = "", for_whom: str = ""
) -> HttpResponse:
    context = {
        "people": [(person, GroupsForm.of(person)) for person in people.list_people()],
        "invitations": one_time_links.list_invitations(),
        "form": form,
        "link": request.build_absolute_uri(link) if link else "",
        "for_whom": for_whom,
        "group_names": all_group_names(),
    }
    return render(request, "accounts/people.html", context, status=400 if form.errors else 200)


@for_administrators
@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    form = InvitationForm(request.POST)
    if not form.is_valid():
        return _people(request, form)
    values = form.cleaned_data
    link = one_time_links.make_invitation(
        request=request,
        made_by=_person(request),
        makes_administrator=values["role"] == "administrator",
        groups=people.groups_named(split_names(values["groups"])),
        note=values["note"],
    )
    return _people(request, InvitationForm(), link, values["note"])


@for_administrators
@require_POST
def withdraw_invitation(request: HttpRequest, link_id: int) -> HttpResponse:
    if not one_time_links.withdraw_invitation(link_id):
        raise Http404("There is no such invitation.")
    messages.success(request, "The invitation is withdrawn.")
    return redirect("people")


@for_administrators
@require_POST
def change_person(request: HttpRequest, person_id: int) -> HttpResponse:
    """Do what the form's `action` says."""
    person = User.objects.filter(pk=person_id).first()
    if person is None:
        raise Http404("There is no such person.")
    action = request.POST.get("action", "")
    if action == "reset":
        link = one_time_links.make_reset_link(
            request=request, person=person, made_by=_person(request)
        )
        return _people(request, InvitationForm(), link, person.get_username())
    change = _CHANGES.get(action)
    if change is None:
        raise PermissionDenied("There is no such action.")
    try:
        change(request, person)
    except people.LastAdministratorError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{person.get_username()} is changed.")
    return redirect("people")


_CHANGES: dict[str, Callable[[HttpRequest, User], object]] = {
    "deactivate": lambda request, person: people.set_active(
        request=request, person=person, active=False
    ),
    "activate": lambda request, person: people.set_active(
        request=request, person=person, active=True
    ),
    "make-administrator": lambda request, person: people.set_administrator(
        request=request, person=person, administrator=True
    ),
    "make-member": lambda request, person: people.set_administrator(
        request=request, person=person, administrator=False
    ),
    "remove-second-factor": lambda request, person: people.remove_second_factor(
        request=request, person=person, made_by=_person(request)
    ),
    "groups": lambda request, person: people.set_groups(
        request=request,
        person=person,
        groups=people.groups_named(split_names(request.POST.get("groups", ""))),
    ),
}


def _person(request: HttpRequest) -> User:
    return cast("User", request.user)
