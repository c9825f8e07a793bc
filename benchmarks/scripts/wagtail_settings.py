"""The settings that Wagtail's start project leaves to the site; becomes its `bench/settings/local.py`."""

import os
from importlib.util import find_spec

from .base import DATABASES, INSTALLED_APPS

SECRET_KEY = "no secret: the benchmarks serve on loopback only"
ALLOWED_HOSTS = ["*"]

if find_spec("hurricane"):  # its `manage.py serve` exists only for an installed app
    INSTALLED_APPS.append("hurricane")

POSTGRESQL = os.environ.get("BENCHMARKS_POSTGRESQL")
if POSTGRESQL:
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "wagtail",
        "USER": "postgres",
        "HOST": "127.0.0.1",
        "PORT": POSTGRESQL,
        "CONN_MAX_AGE": None,
    }
