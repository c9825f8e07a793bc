"""`manage.py serve` of django-hurricane, on loopback only: it has no option for the address to listen on."""

from __future__ import annotations

import sys
from functools import partialmethod

import tornado.web
from django.core.management import execute_from_command_line

tornado.web.Application.listen = partialmethod(tornado.web.Application.listen, address="127.0.0.1")

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
