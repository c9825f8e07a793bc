"""How these documents become a site: `make docs`.

Sphinx, MyST and Furo are kept by teams of their own, many projects of Python use them, and what they make needs nothing
from other hosts.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from twistserve import __version__

project = "twistserve"
author = "the twistserve authors"
release = version = __version__
extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns: list[str] = []
nitpicky = True
smartquotes = False
"""Two dashes are those of options."""

myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]
"""Pygments does not know HAProxy's language, nor all of Varnish's; tests/test_code_blocks.py checks the names."""

linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1):800[01]\b"]
"""The server on the reader's machine."""
linkcheck_anchors_ignore_for_url = [r"https://github\.com/"]
"""Its pages make their anchors in the browser."""

html_theme = "furo"
html_title = "twistserve"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp"

ELSEWHERE = {"../deploy/chart/README.md": "chart.md"}
"""Documents of the repository that are pages here, by the links to them."""

PHONE = 500
"""Pixels; wider drawings would be too small there."""


def setup(app: Sphinx) -> None:
    """Have links to documents elsewhere in the repository lead to their pages."""

    def redirect(app: Sphinx, name: str, source: list[str]) -> None:
        for link, page in ELSEWHERE.items():
            source[0] = source[0].replace(f"]({link}", f"]({page}")

    def inline(app: Sphinx, page: nodes.document, name: str) -> None:
        """Put drawings into the page: they follow its switch of colours, and their words can be found and copied."""
        for image in list(page.findall(nodes.image)):
            if image["uri"].endswith(".svg") and app.builder.format == "html":
                drawing = (Path(app.srcdir) / image["uri"]).read_text()
                width = re.search(r'width="(\d+)"', drawing)
                kind = "wide drawing" if width and int(width[1]) > PHONE else "drawing"
                image.replace_self(nodes.raw("", f'<span class="{kind}">{drawing}</span>', format="html"))

    def darken(app: Sphinx, page: nodes.document) -> None:
        """Show `NAME-dark.png`, where there is one, instead of `NAME.png` on dark pages."""
        for image in list(page.findall(nodes.image)):
            dark = image["uri"].removesuffix(".png") + "-dark.png"
            if (Path(app.srcdir) / dark).exists():
                other = image.deepcopy()
                other["uri"] = dark
                image["classes"].append("only-light")
                other["classes"].append("only-dark")
                image.parent.insert(image.parent.index(image) + 1, other)

    app.connect("source-read", redirect)
    app.connect("doctree-read", darken, priority=400)  # before Sphinx lists the images to copy
    app.connect("doctree-resolved", inline)
