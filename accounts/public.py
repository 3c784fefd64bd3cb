"""The views that anybody may use, whether known or not."""

PUBLIC = {
    "root": "names the service and its endpoints",
    "health": "probes have no account; it says only that the web process answers",
    "ready": "probes have no account; the details are for administrators",
    "schema": "describes the API, and holds nothing of anybody",
    "docs": "the same, for people",
    "shared": "whoever has a share link's token may open it; it shows nothing to others",
    "admin:login": "leads to the sign-in page",
    "admin:jsi18n": "texts of the admin's scripts",
}
"""The name of each public view, with the reason."""


def is_public(view_name: str) -> bool:
    return view_name in PUBLIC
