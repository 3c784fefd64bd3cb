"""URLs about people. Of django-allauth's, those that are used here: none that sends mail."""

from allauth.account import views as account
from allauth.socialaccount import views as social
from allauth.socialaccount.providers.openid_connect import views as oidc_views
from django.urls import include, path

from accounts import api, oidc, pages

urlpatterns = [
    path("tokens", api.tokens, name="api-tokens"),
    path("tokens/<uuid:token_id>", api.token, name="api-token"),
]

page_urlpatterns = [
    path("", pages.profile, name="profile"),
    path("tokens/", pages.create_token, name="create-token"),
    path("tokens/<uuid:public_id>/revoke/", pages.revoke_token, name="revoke-token"),
    path("link/", pages.use_link, name="use-one-time-link"),
    path("link/<str:token>/", pages.open_link, name="open-one-time-link"),
    path("people/", pages.list_people, name="people"),
    path("people/invite/", pages.invite, name="invite"),
    path(
        "people/invitations/<int:link_id>/withdraw/",
        pages.withdraw_invitation,
        name="withdraw-invitation",
    ),
    path("people/<int:person_id>/", pages.change_person, name="change-person"),
    path("login/", account.login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("signup/", account.signup, name="account_signup"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", account.password_change, name="account_change_password"),
    path("password/set/", account.password_set, name="account_set_password"),
    path("2fa/", include("allauth.mfa.urls")),
    path("provider/", social.connections, name="socialaccount_connections"),
    path("provider/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"),
    path("provider/error/", social.login_error, name="socialaccount_login_error"),
    path("oidc/<str:provider_id>/login/", oidc.login, name="openid_connect_login"),
    path(
        "oidc/<str:provider_id>/login/callback/",
        oidc_views.callback,
        name="openid_connect_callback",
    ),
]
