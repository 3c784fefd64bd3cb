"""Requests to every address that names something of somebody's: each first succeeds as the one it belongs to."""

from dataclasses import dataclass, field
from typing import Any

from tests.accounts.world import World

JSON = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A request. `{name}` in values stands for an id of the world's."""

    view: str
    method: str = "GET"
    kwargs: JSON = field(default_factory=dict)
    query: JSON = field(default_factory=dict)
    body: Any = None
    form: JSON | None = None
    """Sent as a form instead of `body`."""
    expected: tuple[int, ...] = (200,)
    """The status codes of success."""
    allowed_to_readers: bool = False
    """Whether who may read the recording may send it, though its method is not safe."""
    is_for_owner: bool = False
    """Whether only the recording's owner may send it, whatever its method."""

    def __str__(self) -> str:
        return f"{self.method} {self.view} {self.kwargs or self.query or self.body}"


def filled(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: filled(inner, ids) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, ids) for inner in value]
    return value.format(**ids) if isinstance(value, str) else value


def cases(world: World) -> list[Case]:
    word = world.canary
    was = {"text": f"And then {word} fellow"}
    second = {"text": f"Ask what {word}."}
    of_job = [
        Case(view, kwargs={"job_id": "{job}"})
        for view in (
            "transcription-status",
            "transcription-result",
            "transcription-suspects",
            "transcription-debug",
            "edits",
            "review",
            "job-row",
            "audio",
            "peaks",
            "playable",
        )
    ]
    decisions = [
        Case(f"retranslation-{name}", "POST", {"retranslation_id": f"{{{which}}}"})
        for name, which in (("accept", "pending"), ("reject", "pending"), ("undo", "accepted"))
    ]
    return [
        *of_job,
        *decisions,
        Case("transcription-result", kwargs={"job_id": "{job}"}, query={"words": "true"}),
        *(
            Case("transcription-export", kwargs={"job_id": "{job}"}, query={"format": name})
            for name in ("srt", "vtt", "txt", "json", "docx", "csv")
        ),
        Case("transcription-diarize", "POST", {"job_id": "{job}"}),
        Case("transcription-cancel", "POST", {"job_id": "{active}"}),
        Case("transcription-delete", "DELETE", {"job_id": "{job}"}, expected=(204,)),
        Case("segment", kwargs={"segment_id": "{segment}"}),
        Case("segment", "PATCH", {"segment_id": "{segment}"}, body={"text": "New.", "was": was}),
        Case("segment", "DELETE", {"segment_id": "{segment}"}, query={"was": was["text"]}),
        Case(
            "segment-split",
            "POST",
            {"segment_id": "{segment}"},
            body={"position": 4, "was": was},
        ),
        Case(
            "segment-merge",
            "POST",
            {"segment_id": "{segment}"},
            body={"was": was, "next": {"id": "{second}", **second}},
        ),
        Case(
            "rename-speaker",
            "POST",
            {"job_id": "{job}"},
            body={"from": f"One {word}", "to": "Ann"},
        ),
        Case("undo-edit", "POST", {"job_id": "{job}", "edit_id": "{edit}"}),
        Case("retry-job", "POST", {"job_id": "{failed}"}),
        Case("cancel-job", "POST", {"job_id": "{active}"}),
        Case("delete-job", "POST", {"job_id": "{job}"}),
        Case(
            "chat",
            "POST",
            body={"job_id": "{job}", "messages": [{"role": "user", "content": "Ask what?"}]},
            allowed_to_readers=True,
        ),
        Case("summarize", "POST", body={"job_id": "{job}"}, allowed_to_readers=True),
        Case("summary-status", kwargs={"job_id": "{summary}"}),
        Case("summary-result", kwargs={"job_id": "{summary}"}),
        Case("summary-result", kwargs={"job_id": "{own_summary}"}),
        Case("retranslations", query={"job_id": "{job}"}),
        Case("retranslations", query={"job_id": "{job}", "segment_id": "{segment}"}),
        Case("retranslation", kwargs={"retranslation_id": "{pending}"}),
        Case("retranslation", kwargs={"retranslation_id": "{clip}"}),
        Case(
            "retranslate-segment-from-full",
            "POST",
            query={"job_id": "{job}"},
            body={"segment_id": "x", "start_time": 1, "end_time": 2, "model_name": "base"},
            expected=(504,),  # the row is made, and no worker runs here
        ),
        Case(
            "retranslate-segment",
            "POST",
            form={
                "job_id": "{job}",
                "segment_id": "x",
                "start_time": "0",
                "end_time": "10.9",
                "model_name": "base",
            },
            expected=(504,),
        ),
        Case(
            "retranslate-suspects",
            "POST",
            query={"job_id": "{job}", "model_name": "base"},
        ),
        Case("retranslate-suspects-status", kwargs={"batch_id": "{batch}"}),
        Case("api-token", "DELETE", {"token_id": "{token}"}, expected=(204,)),
        Case("revoke-token", "POST", {"public_id": "{token}"}, expected=(302,)),
        *_of_sharing(),
    ]


def _of_sharing() -> list[Case]:
    job = {"job_id": "{job}"}
    share, link = {**job, "share_id": "{share}"}, {**job, "link_id": "{link}"}
    return [
        Case("shares", kwargs=job, is_for_owner=True),
        Case("shares", "POST", job, body={"user": "bob", "role": "reader"}, is_for_owner=True),
        Case("share", "PATCH", share, body={"role": "editor"}, is_for_owner=True),
        Case("share", "DELETE", share, expected=(204,), is_for_owner=True),
        Case("share-links", kwargs=job, is_for_owner=True),
        Case("share-links", "POST", job, body={"allows_chat": True}, is_for_owner=True),
        Case("share-link", "DELETE", link, expected=(204,), is_for_owner=True),
    ]


LISTS = (
    Case("transcription-jobs"),
    Case("transcription-jobs", query={"limit": "500"}),
    Case("retranslations"),
    Case("retranslations", query={"segment_id": "{segment}"}),
    Case("app"),
    Case("api-tokens"),
    Case("profile"),
)
"""Lists: of what is their own for everybody."""

WITHOUT_OBJECTS = {
    "transcribe": "uploads make a job of one's own",
    "transcription-models": "lists the installation's models",
    "chat-models": "lists the provider's models",
    "app-models": "lists the models that can be downloaded",
    "create-token": "makes a token of one's own",
    "people": "for administrators: tests/accounts/test_people.py",
    "invite": "for administrators, the same",
    "withdraw-invitation": "for administrators, the same",
    "change-person": "for administrators, the same",
    "account_reauthenticate": "asks who is signed in for their own password",
    "account_change_password": "one's own",
    "account_set_password": "one's own, for who came through a provider",
    "socialaccount_connections": "one's own accounts at a provider",
    "mfa_index": "one's own second factor",
    "mfa_reauthenticate": "asks who is signed in for their own second factor",
    "mfa_activate_totp": "one's own second factor",
    "mfa_deactivate_totp": "one's own second factor",
    "mfa_view_recovery_codes": "one's own second factor",
    "mfa_generate_recovery_codes": "one's own second factor",
    "mfa_download_recovery_codes": "one's own second factor",
    "mfa_list_webauthn": "one's own passkeys",
    "mfa_add_webauthn": "one's own passkeys",
    "mfa_reauthenticate_webauthn": "one's own passkeys",
    "mfa_remove_webauthn": "one's own passkeys: tests/accounts/test_second_factor.py",
    "mfa_edit_webauthn": "one's own passkeys, the same",
}
"""Views that name nothing of anybody's, with the reason."""
