"""The shopkeeper's view of the catalogue."""

from __future__ import annotations

from django.contrib import admin

from catalogue.models import Author, Book


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):
    """Authors, found by name."""

    list_display = ("name",)
    search_fields = ("name",)


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    """Books, found by their title or author."""

    list_display = ("title", "author", "published", "price")
    list_select_related = ("author",)
    search_fields = ("title", "author__name")
