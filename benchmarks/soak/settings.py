"""The settings of the site under soak."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ["SOAK_DATA"])
"""The directory of its files."""
SECRET_KEY = "no secret: it serves on loopback only"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "benchmarks.soak.urls"
WSGI_APPLICATION = "benchmarks.soak.urls.application"
INSTALLED_APPS = ["twistserve", "django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE = [
    "twistserve.middleware.RouteMetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent],
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "db.sqlite3", "CONN_MAX_AGE": None}}
USE_TZ = True
STATIC_URL, STATIC_ROOT = "/static/", DATA / "static"
MEDIA_URL, MEDIA_ROOT = "/media/", DATA / "media"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 << 20
