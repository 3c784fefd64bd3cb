"""The views that anybody may use, whether known or not."""

PUBLIC = {
    "root": "names the service and its endpoints",
    "health": "probes have no account; it says only that the web process answers",
    "ready": "probes have no account; the details are for administrators",
    "schema": "describes the API, and holds nothing of anybody",
    "docs": "the same, for people",
    "shared": "whoever has a share link's token may open it; it shows nothing to others",
    "admin:login": "leads to the sign-in page",
    "account_login": "the sign-in page",
    "account_logout": "ends whatever session there is",
    "account_inactive": "says that an account is not active",
    "account_signup": "registration, where the operator has opened it; else it says that it is closed",
    "mfa_authenticate": "the second step of a sign-in, after the password",
    "mfa_login_webauthn": "sign-in with a passkey",
    "openid_connect_login": "leads to the provider that knows people",
    "openid_connect_callback": "comes back from the provider, with a state that the session knows",
    "socialaccount_login_cancelled": "says that the sign-in at the provider was cancelled",
    "socialaccount_login_error": "says that the sign-in at the provider failed",
    "open-one-time-link": "who is invited has no account yet; the link's token is the key",
    "use-one-time-link": "the same, after its token was left behind for the session",
    "admin:jsi18n": "texts of the admin's scripts",
}
"""The name of each public view, with the reason."""


def is_public(view_name: str) -> bool:
    return view_name in PUBLIC
