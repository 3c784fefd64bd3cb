"""What happens to people and tokens, for whoever wants to know of it: signals, with the data that each carries."""

from django.dispatch import Signal

person_changed = Signal()
"""`request` (None on the command line), `person`, `action`: one of the constants below, and `details`, a text."""
token_changed = Signal()
"""`request`, `person`, `token` (an ApiToken), `action`: TOKEN_MADE or TOKEN_REVOKED."""

JOINED = "joined"
INVITED = "invited"
"""`person` is None: nobody has used the invitation yet."""
DEACTIVATED = "deactivated"
ACTIVATED = "activated"
MADE_ADMINISTRATOR = "made administrator"
MADE_MEMBER = "made member"
GROUPS_CHANGED = "groups changed"
RESET_LINK_MADE = "reset link made"
PASSWORD_RESET = "password reset"
SECOND_FACTOR_REMOVED = "second factor removed"
TOKEN_MADE = "token made"
TOKEN_REVOKED = "token revoked"
