"""The project that a page's commands find: `mysite`, as django-admin makes it, with a small app `shop`."""

from __future__ import annotations

import ast
from pathlib import Path

FILES = {
    "manage.py": """
import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
execute_from_command_line(sys.argv)
""",
    "mysite/__init__.py": "",
    "mysite/settings.py": """
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "documents"
DEBUG = True
ALLOWED_HOSTS = []
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    {twistserve}
    "shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "mysite.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
WSGI_APPLICATION = "mysite.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static_root"
MEDIA_URL = "media/"
MEDIA_ROOT = BASE_DIR / "media"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "mysite/urls.py": """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
""",
    "mysite/wsgi.py": """
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()
""",
    "shop/__init__.py": "",
    "shop/models.py": """
from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=200)
    stock = models.IntegerField(default=0)


class Order(models.Model):
    book = models.ForeignKey(Book, on_delete=models.CASCADE)
    copies = models.IntegerField(default=1)
""",
    "mysite/production.py": """
from mysite.settings import *

DEBUG = False
ALLOWED_HOSTS = ["www.example.com"]
""",
    "shop/static/shop/shop.css": "body { margin: 0 }\n",
    "assets/site.css": "body { margin: 0 }\n",
    "media/book.txt": "A book.\n",
}


def write_mysite(directory: Path, *, installed: bool = True) -> None:
    """Write the project; `installed` is whether its INSTALLED_APPS have twistserve."""
    for path, text in FILES.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        app = '"twistserve",' if installed else ""
        (directory / path).write_text(text.lstrip("\n").replace("{twistserve}", app))


def write_file(directory: Path, path: str, text: str) -> None:
    """Write what a block shows of a file.

    A block of settings comes after those that are there; `[..., "shop"]` in a list of any file's top level adds to the
    list that is there. Otherwise a block is the whole file.
    """
    file = directory / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".py"):
        tree = ast.parse(text)
        if _complete(tree) or path.endswith("settings.py"):
            text = f"{file.read_text()}\n{ast.unparse(tree)}\n"
        if path.count("/") and not (file.parent / "__init__.py").exists():
            (file.parent / "__init__.py").touch()
    file.write_text(text)


def _complete(tree: ast.Module) -> bool:
    """Put in the place of an ellipsis what the list has had before; whether there is one."""
    found = False
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=elements)):
                for number, element in enumerate(elements):
                    if isinstance(element, ast.Constant) and element.value is ...:
                        elements[number] = ast.Starred(ast.Name(name, ast.Load()), ast.Load())
                        found = True
    return found
