"""Requests and responses of the API about people."""

from typing import Any

from rest_framework import serializers

from accounts.forms import MAX_TOKEN_DAYS
from accounts.models import ApiToken


class TokenRequest(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, help_text="What will use it.")
    scope = serializers.ChoiceField(choices=ApiToken.Scope.values, default=ApiToken.Scope.READ)
    days = serializers.IntegerField(
        min_value=1,
        max_value=MAX_TOKEN_DAYS,
        required=False,
        allow_null=True,
        default=None,
        help_text="Days until it expires; null: never.",
    )


class Token(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    scope = serializers.ChoiceField(choices=ApiToken.Scope.values)
    begins_with = serializers.CharField(source="token_key")
    created_at = serializers.DateTimeField(source="created")
    expires_at = serializers.DateTimeField(source="expiry", allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)


class NewToken(Token):
    token = serializers.CharField(help_text="Shown this once: it is stored hashed.")


class TokenList(serializers.Serializer[Any]):
    tokens = Token(many=True)
