"""What `--static` and `--media` serve: WhiteNoise's index of the static files, and the directory of media.

An index is loaded when Django is set up and the commands have run: only then it is known under which path Django puts
the URLs (FORCE_SCRIPT_NAME), and collectstatic may be what makes the directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from twistserve.errors import StartError
from twistserve.files.media_views import project_views
from twistserve.logs import get_logger
from twistserve.options import Configuration

logger = get_logger(__name__)

_DOCUMENTS = frozenset(("text/html", "text/xml", "application/xml", "text/xsl"))
"""Beside what ends in +xml, such as XHTML and SVG."""


class StaticIndex:
    """The static files: indexed once by WhiteNoise, or found anew for each request where they may change.

    Raises `StartError` where no later step can make serving possible.
    """

    kind = "static"

    def __init__(self) -> None:
        if not has_finders():
            _required("static")
        self._whitenoise: Any = None

    @property
    def prefix(self) -> str:
        """The URL path below which the files are, without FORCE_SCRIPT_NAME; known once it is loaded."""
        prefix: str = self._whitenoise.static_prefix
        return prefix

    @property
    def changing(self) -> bool:
        """Whether each request looks for its file, which blocks; known once it is loaded."""
        return bool(self._whitenoise.autorefresh)

    def check_url(self) -> str:
        """The prefix to be, of a STATIC_URL that can be served. In the thread that has set Django up.

        Raises `StartError`.
        """
        from django.conf import settings

        # WhiteNoise takes the path from WHITENOISE_STATIC_PREFIX, else from STATIC_URL, whichever host that names:
        # a CDN asks us for the same path.
        own: str | None = getattr(settings, "WHITENOISE_STATIC_PREFIX", None)
        return _checked(self.kind, settings.STATIC_URL) if own is None else f"/{own.strip('/')}/".replace("//", "/")

    def load(self) -> None:
        """Make the index, after the commands. Blocks; in the thread that has set Django up. Raises `StartError`."""
        if not has_finders():
            root = _required(self.kind)
            if not os.path.isdir(root):
                raise StartError(
                    f"--static: the directory {root!r} of the setting STATIC_ROOT does not exist: run manage.py"
                    " collectstatic, or give --command 'collectstatic --noinput'"
                )
        self._whitenoise = _index(None)

    def renewed(self, storage: Any) -> Callable[[], None]:
        """Make the index anew; what puts it into force is returned, for the reactor thread.

        `storage` tells which names are hashed, for those of the process's own may be from before. Blocks. Raises
        `StartError`.
        """
        return partial(setattr, self, "_whitenoise", _index(storage))

    def find(self, relative: str, url: str) -> Any:
        """The entry of a file, or None; where files may change it blocks, and raises OSError. From any thread."""
        return self._find(self.prefix + relative)

    def find_outside(self, relative: str, url: str) -> Any:
        """The same of a file that is not below the prefix."""
        return self._find("/" + relative)

    def _find(self, path: str) -> Any:
        whitenoise = self._whitenoise
        return whitenoise.find_file(path) if whitenoise.autorefresh else whitenoise.files.get(path)

    @property
    def paths_outside(self) -> list[str]:
        """The URL paths of files that are not below the prefix: WHITENOISE_ROOT's, and the prefix without its slash."""
        return [path for path in self._whitenoise.files if self.prefix == "/" or not path.startswith(self.prefix)]

    @property
    def anywhere(self) -> bool:
        """Whether any URL path may be that of a file, which each request has to look for."""
        roots = [self.prefix, *(prefix for _, prefix in self._whitenoise.directories)]
        return self.changing and "/" in roots


class MediaIndex:
    """The media files, looked for anew for each request: no variants, no caching.

    What users upload may change, and is not public by its nature. Documents among it run no scripts on the site's
    origin, unless `scripts`. Raises `StartError` as `StaticIndex`.
    """

    kind = "media"
    changing = True

    def __init__(self, scripts: bool = False) -> None:
        self._scripts = scripts
        # Absolute now: twistd may change the directory.
        self._root = os.path.abspath(_required(self.kind))
        self._whitenoise: Any = None
        self.prefix = ""

    def check_url(self) -> str:
        """The same of MEDIA_URL."""
        from django.conf import settings

        url = settings.MEDIA_URL
        if urlsplit(url or "").netloc:
            raise StartError(
                f"--media: the setting MEDIA_URL is the full URL {url!r}, so another host serves these files:"
                " leave --media out, or set MEDIA_URL to a path such as '/media/'"
            )
        self.prefix = _checked(self.kind, url)
        return self.prefix

    def load(self) -> None:
        """Find out what the files are, after `check_url` and the commands. Blocks. Raises `StartError`."""
        from whitenoise.base import WhiteNoise

        if os.path.exists(self._root) and not os.path.isdir(self._root):
            raise StartError(f"--media: {self._root!r} of the setting MEDIA_ROOT is not a directory")
        self._whitenoise = WhiteNoise(None, max_age=None, allow_all_origins=False, autorefresh=True)

    def tell(self) -> None:
        """Log what somebody who starts this should know. Blocks; once it is loaded, and the URLconf too."""
        from django.conf import settings

        if not os.path.isdir(self._root):
            logger.warning(
                "--media: the directory %r of the setting MEDIA_ROOT does not exist: until it does, every request"
                " below %s is answered with 404",
                self._root,
                self.prefix,
            )
        # The system check with this id says the same, where the server does not run it.
        views = {} if "twistserve.W003" in settings.SILENCED_SYSTEM_CHECKS else project_views(self.prefix)
        if views:
            names = ", ".join(f"{name} ({route})" for name, route in views.items())
            logger.warning(
                "--media: everybody may read what is below %s, for the project's own view there is not asked: %s; if it"
                " decides who may, leave --media out ('Who may read media' in docs/static-and-media.md)",
                self.prefix,
                names,
            )

    def find(self, relative: str, url: str) -> Any:
        """The entry of a file, or None. Blocks, and raises OSError. From any thread."""
        from wsgiref.headers import Headers

        from whitenoise.responders import MissingFileError, NotARegularFileError, StaticFile

        path = os.path.join(self._root, relative)
        headers = Headers([("X-Content-Type-Options", "nosniff")])
        self._whitenoise.add_mime_headers(headers, path, url)
        if not self._scripts and _may_run_scripts(headers["Content-Type"] or ""):
            headers["Content-Security-Policy"] = "sandbox"
        try:
            return StaticFile(path, headers.items())
        except (MissingFileError, NotARegularFileError):
            return None


def file_indexes(configuration: Configuration) -> Sequence[StaticIndex | MediaIndex]:
    """What to serve as files. Raises `StartError` where a setting is missing that no later step gives."""
    static = [StaticIndex()] if configuration.static else []
    media = [MediaIndex(configuration.media_scripts)] if configuration.media else []
    return [*static, *media]


def check_urls(indexes: Sequence[StaticIndex | MediaIndex]) -> dict[str, str]:
    """The prefixes of files by their kind; in the thread that has set Django up. Raises `StartError`."""
    return {index.kind: index.check_url() for index in indexes}


def _index(storage: Any) -> Any:
    """WhiteNoise's index, made now; a `storage` tells which names are hashed in place of the process's own."""
    from whitenoise.middleware import WhiteNoiseMiddleware

    class Index(WhiteNoiseMiddleware):  # type: ignore[misc]
        def get_static_url(self, name: str) -> Any:
            if storage is None:
                return super().get_static_url(name)
            try:
                return storage.url(name)
            except ValueError:
                return None

    try:
        return Index(lambda request: None)
    except OSError as error:
        raise StartError(f"--static: the files of STATIC_ROOT or WHITENOISE_ROOT cannot be indexed: {error}") from error


def _may_run_scripts(content_type: str) -> bool:
    """Whether a browser makes a document of it, in which scripts run."""
    media_type = content_type.partition(";")[0].strip()
    return media_type in _DOCUMENTS or media_type.endswith("+xml")


def has_finders() -> bool:
    """Whether static files are served from where django.contrib.staticfiles finds them."""
    from django.conf import settings

    wanted = getattr(settings, "WHITENOISE_USE_FINDERS", settings.DEBUG)
    return bool(wanted) and "django.contrib.staticfiles" in settings.INSTALLED_APPS


def _required(kind: str) -> str:
    """The directory that the setting names."""
    from django.conf import settings

    name = f"{kind.upper()}_ROOT"
    root = getattr(settings, name)
    if not root:
        raise StartError(f"--{kind} needs the setting {name}, which is not set: give it the directory of the files")
    try:
        return os.fspath(root)  # type: ignore[no-any-return]
    except TypeError as error:
        raise StartError(f"--{kind}: the setting {name} is {root!r}, which is no path: give it a directory") from error


def _checked(kind: str, url: str | None) -> str:
    """The path of a URL as the web port is asked for it: without FORCE_SCRIPT_NAME, which a proxy takes away."""
    from django.conf import settings

    parts = urlsplit(url or "")
    path = parts.path
    script_name = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    if script_name and f"{path}/".startswith(f"{script_name}/"):
        path = path[len(script_name) :]
    path = path.strip("/")
    if not path and not parts.netloc:
        raise StartError(
            f"--{kind} needs the setting {kind.upper()}_URL, which is {url!r}: set it to a path such as '/{kind}/';"
            " the root would hide the application"
        )
    return f"/{path}/" if path else "/"
