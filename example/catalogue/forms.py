"""What visitors may send in."""

from __future__ import annotations

from typing import Any

from django import forms

from catalogue.models import COVER_EXTENSIONS, Book


class CoverForm(forms.ModelForm):
    """A picture for the cover of a book; unlike the model's field, the form insists on a file."""

    class Meta:
        model = Book
        fields = ("cover",)
        widgets = {  # noqa: RUF012 - read once, by Django's metaclass
            "cover": forms.FileInput({"accept": ",".join(f".{extension}" for extension in COVER_EXTENSIONS)})
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["cover"].required = True
