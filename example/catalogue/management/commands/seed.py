"""`manage.py seed`: fill the demo."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from catalogue.models import Book


class Command(BaseCommand):
    """Add what a demo needs and is not there yet, so that it may run before every start."""

    help = "Load the sample books if there are none, and create the demo's admin user if it is missing."

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the books, then create the user."""
        if Book.objects.exists():
            self.stdout.write("The catalogue has books already.")
        else:
            call_command("loaddata", "books", verbosity=0)
            self.stdout.write(f"Loaded {Book.objects.count()} books.")
        users = get_user_model().objects
        if users.filter(username="admin").exists():
            self.stdout.write("The user admin exists already.")
        else:
            users.create_superuser("admin", password="admin")
            self.stdout.write("Created the superuser admin with the password admin. For the demo only!")
