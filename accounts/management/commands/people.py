from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import one_time_links, people


class Command(BaseCommand):
    help = "List the people of this service, or let one who is locked out set a new password."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="names, roles, who may sign in, who has a second factor")
        reset = actions.add_parser(
            "reset",
            help="make an administrator or member active, remove the second factor, print a link to a new password",
        )
        reset.add_argument("name", help="the user name")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list()
        else:
            self._reset(options["name"])

    def _list(self) -> None:
        for person in people.list_people():
            facts = [
                "administrator" if person.is_superuser else "member",
                *(["deactivated"] if not person.is_active else []),
                *(["second factor"] if person.has_second_factor else []),
            ]
            self.stdout.write(f"{person.get_username()}: {', '.join(facts)}")

    def _reset(self, name: str) -> None:
        person = User.objects.filter(username=name).first()
        if person is None:
            raise CommandError(f"There is no {name!r}. Names: manage.py people list")
        if not person.is_active:
            people.set_active(request=None, person=person, active=True)
        removed = people.remove_second_factor(request=None, person=person, made_by=None)
        path = one_time_links.make_reset_link(request=None, person=person, made_by=None)
        if removed:
            self.stdout.write("The second factor is removed.")
        self.stdout.write(f"Open {path} at this service's address within a day: it works once.")
