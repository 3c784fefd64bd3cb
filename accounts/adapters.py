"""How django-allauth is used here: names instead of addresses, no mail, passkeys where browsers have them."""

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.TRANSCRIBER_REGISTRATION == "open")

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that sign-ins are counted by; behind a trusted proxy the site has put the client's there."""
        return str(request.META.get("REMOTE_ADDR") or "unknown")


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth is untyped
    def get_totp_issuer(self) -> str:
        return "Transcriber"

    def get_totp_label(self, user: object) -> str:
        return str(user)
