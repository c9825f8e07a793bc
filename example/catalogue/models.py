"""Authors and their books."""

from __future__ import annotations

from django.core.validators import FileExtensionValidator
from django.db import models
from django.urls import reverse

COVER_EXTENSIONS = ("gif", "jpeg", "jpg", "png", "webp")
"""Pictures that a browser shows without running anything in them, as it would with SVG."""


class Author(models.Model):
    """A writer of books."""

    name = models.CharField(max_length=200)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    """A book on sale."""

    title = models.CharField(max_length=200)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    published = models.DateField()
    price = models.DecimalField(max_digits=6, decimal_places=2)
    stock = models.PositiveSmallIntegerField(default=12)
    cover = models.FileField(upload_to="covers/", blank=True, validators=[FileExtensionValidator(COVER_EXTENSIONS)])

    class Meta:
        ordering = ("title",)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """The page of this book."""
        return reverse("catalogue:book", kwargs={"pk": self.pk})
