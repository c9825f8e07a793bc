"""Create the database of Wagtail's start project with ten pages below its home page; runs in a server's environment."""

from __future__ import annotations

from datetime import UTC, datetime


def create_database() -> None:
    """A new, empty one, whatever its user had before."""
    import psycopg
    from django.db import connection

    name = connection.settings_dict["NAME"]
    parameters = connection.get_connection_params() | {"dbname": "postgres"}
    del parameters["cursor_factory"], parameters["context"]
    with psycopg.connect(**parameters, autocommit=True) as postgres:
        postgres.execute(f"DROP DATABASE IF EXISTS {name}")
        postgres.execute(f"CREATE DATABASE {name}")


def create_pages() -> None:
    from home.models import HomePage

    home = HomePage.objects.get()
    published = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(1, 11):
        page = HomePage(
            title=f"Guide {number}",
            slug=f"guide-{number}",
            search_description="What this page is about, in a sentence or two. " * 2,
            show_in_menus=True,
            first_published_at=published,
            last_published_at=published,
        )
        home.add_child(instance=page)


def main() -> None:
    import django
    from django.core.management import call_command
    from django.db import connection

    django.setup()
    create_database()
    call_command("migrate", verbosity=0)
    create_pages()
    with connection.cursor() as cursor:  # before the first query is planned
        cursor.execute("VACUUM ANALYZE")


if __name__ == "__main__":
    main()
