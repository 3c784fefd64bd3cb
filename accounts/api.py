"""The API of API tokens, for a session of a browser: a token makes no other tokens."""

from typing import cast
from uuid import UUID

from django.contrib.auth.models import User
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import tokens as services
from accounts.serializers import NewToken, Token, TokenList, TokenRequest
from transcription import access
from transcription.request_checks import Conflict, validate


@extend_schema(methods=["GET"], tags=["accounts"], responses=TokenList)
@extend_schema(methods=["POST"], tags=["accounts"], request=TokenRequest, responses={201: NewToken})
@api_view(["GET", "POST"])
def tokens(request: Request) -> Response:
    """List your API tokens, or make one.

    Needs the session of a browser that is signed in; with accounts off it is a 404.
    """
    person = _person(request)
    if request.method == "GET":
        return Response({"tokens": Token(services.list_tokens(person), many=True).data})
    values = validate(TokenRequest, request.data)
    try:
        token, text = services.create_token(request=request._request, person=person, **values)
    except services.TooManyTokensError:
        raise Conflict(f"You have {services.MAX_PER_PERSON} tokens. Revoke one first.") from None
    return Response(
        {**Token(token).data, "token": text},
        status=status.HTTP_201_CREATED,
        headers={"Cache-Control": "no-store"},
    )


@extend_schema(tags=["accounts"], responses={204: None})
@api_view(["DELETE"])
def token(request: Request, token_id: UUID) -> Response:
    """Revoke one of your API tokens: it is dead at once. Needs the session of a browser that is signed in."""
    person = _person(request)
    if not services.revoke_token(request=request._request, person=person, public_id=token_id):
        raise Http404("You have no such token.")
    return Response(status=status.HTTP_204_NO_CONTENT)


def _person(request: Request) -> User:
    return cast("User", access.person_of(request._request))
