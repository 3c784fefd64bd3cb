"""Serializers of shares and links: they validate requests, and describe responses in the API schema."""

from typing import Any

from rest_framework import serializers

from transcription.models import Share as ShareRow
from transcription.models import ShareLink
from transcription.sharing.links import DEFAULT_DAYS, MAX_DAYS

MAX_NAME_LENGTH = 150


class Role(serializers.Serializer[Any]):
    role = serializers.ChoiceField(
        choices=ShareRow.Role.choices,
        help_text="A reader may read, export and ask; an editor may change the transcript too.",
    )


class ShareWish(Role):
    user = serializers.CharField(
        max_length=MAX_NAME_LENGTH, required=False, help_text="The exact user name of a person."
    )
    group = serializers.CharField(
        max_length=MAX_NAME_LENGTH, required=False, help_text="Or the exact name of a group."
    )

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if ("user" in values) == ("group" in values):
            raise serializers.ValidationError("Send either user or group: who may see it.")
        return values


class Share(Role):
    id = serializers.IntegerField()
    user = serializers.CharField(allow_null=True, help_text="The person's user name, or null.")
    group = serializers.CharField(allow_null=True, help_text="The group's name, or null.")
    created_at = serializers.FloatField(help_text="Seconds since 1970.")


class Shares(serializers.Serializer[Any]):
    shares = Share(many=True)
    count = serializers.IntegerField()


class LinkWish(serializers.Serializer[Any]):
    days = serializers.IntegerField(
        default=DEFAULT_DAYS, min_value=1, max_value=MAX_DAYS, help_text="For how long it works."
    )
    allows_chat = serializers.BooleanField(
        default=False, help_text="Whether questions may be asked, which uses the language model."
    )
    note = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=ShareLink._meta.get_field("note").max_length,
        help_text="For whom it is; only you see it.",
    )


class Link(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    note = serializers.CharField()
    allows_chat = serializers.BooleanField()
    created_at = serializers.FloatField(help_text="Seconds since 1970.")
    expires_at = serializers.FloatField(help_text="Seconds since 1970.")


class NewLink(Link):
    url = serializers.CharField(help_text="Its address. It is not stored: keep it.")


class Links(serializers.Serializer[Any]):
    links = Link(many=True)
    count = serializers.IntegerField()
