"""Forms of the pages about people. Django's own rules apply to names and passwords."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import SetPasswordForm, UserCreationForm
from django.contrib.auth.models import Group, User

from accounts.models import ApiToken

MAX_TOKEN_DAYS = 3650


if TYPE_CHECKING:  # generic only in the stubs
    BaseJoinForm = UserCreationForm[User]
    BasePasswordForm = SetPasswordForm[User]
else:
    BaseJoinForm, BasePasswordForm = UserCreationForm, SetPasswordForm


class JoinForm(BaseJoinForm):
    """Name and password of who joins; names that differ only in case count as the same."""

    class Meta:
        model = User
        fields = ("username",)


class NewPasswordForm(BasePasswordForm):
    """A new password, twice."""


class TokenForm(forms.Form):
    name = forms.CharField(max_length=100, label="What will use it")
    scope = forms.ChoiceField(
        choices=[
            (ApiToken.Scope.READ, "read"),
            (ApiToken.Scope.WRITE, "read and write"),
        ],
        label="It may",
    )
    days = forms.IntegerField(
        min_value=1,
        max_value=MAX_TOKEN_DAYS,
        required=False,
        label="Days until it expires (empty: never)",
    )


class InvitationForm(forms.Form):
    note = forms.CharField(max_length=100, label="For whom")
    role = forms.ChoiceField(
        choices=[("member", "member"), ("administrator", "administrator")], label="Role"
    )
    groups = forms.CharField(
        max_length=1000, required=False, label="Groups, separated by commas (may be empty)"
    )


class GroupsForm(forms.Form):
    groups = forms.CharField(max_length=1000, required=False, label="Groups, separated by commas")

    @staticmethod
    def of(person: Any) -> "GroupsForm":
        names = ", ".join(group.name for group in person.groups.all())
        return GroupsForm({"groups": names}, auto_id=f"id_%s_{person.pk}")


def split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def all_group_names() -> list[str]:
    return list(Group.objects.order_by("name").values_list("name", flat=True))
