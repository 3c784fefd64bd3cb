"""Settings of django-allauth and django-rest-knox that are the same in every installation."""

from typing import Any

SETTINGS: dict[str, Any] = {
    "LOGIN_URL": "account_login",
    "LOGIN_REDIRECT_URL": "app",
    "AUTHENTICATION_BACKENDS": ["django.contrib.auth.backends.ModelBackend"],
    # There may be no mail server, so nobody's address can be verified: people sign in with their names, and
    # links that an administrator passes on take the place of mail.
    "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
    "ACCOUNT_ADAPTER": "accounts.adapters.AccountAdapter",
    "ACCOUNT_LOGIN_METHODS": {"username"},
    "ACCOUNT_SIGNUP_FIELDS": ["username*", "password1*", "password2*"],
    "ACCOUNT_EMAIL_VERIFICATION": "none",
    "ACCOUNT_LOGOUT_REDIRECT_URL": "account_login",
    "ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE": False,  # other sessions end all the same
    "ACCOUNT_REAUTHENTICATION_METHODS": {"password", "mfa"},
    "SOCIALACCOUNT_ADAPTER": "accounts.oidc.SocialAccountAdapter",
    "SOCIALACCOUNT_STORE_TOKENS": False,
    "MFA_ADAPTER": "accounts.adapters.MFAAdapter",
    "MFA_SUPPORTED_TYPES": ["totp", "recovery_codes", "webauthn"],
    "MFA_PASSKEY_LOGIN_ENABLED": True,
    "MFA_TOTP_TOLERANCE": 1,  # periods of 30 s: clocks of telephones differ
    "KNOX_TOKEN_MODEL": "accounts.ApiToken",
    "REST_KNOX": {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "tr_", "TOKEN_TTL": None},
    "MIGRATION_MODULES": {"knox": None},  # its one table is replaced by ours
}


def oidc_provider(
    *, issuer: str, client_id: str, client_secret: str, name: str
) -> dict[str, dict[str, Any]]:
    """The value of SOCIALACCOUNT_PROVIDERS: one OpenID Connect provider if there is an issuer, else none."""
    if not issuer:
        return {}
    app = {
        "provider_id": "oidc",
        "name": name,
        "client_id": client_id,
        "secret": client_secret,
        "settings": {"server_url": issuer, "oauth_pkce_enabled": True},
    }
    return {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}
