"""Code blocks of the documents run: each page in a fresh directory with a project, in its order.

A block of `sh` runs; one whose last line starts a server is running, and ready, until the next one starts or the page
ends. Python runs with Django set up. Configuration is checked by the program that it is for.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents.blocks import Block, blocks, of_languages, pages
from tests.support.documents.pages import Page
from tests.support.documents.programs import CHECKS, program_fault, prometheus_fault

RUN = {"sh", "python"}


@pytest.mark.parametrize("page", [page for page in pages() if RUN & {block.language for block in blocks(page)}])
def test_the_page_can_be_followed(page: str, tmp_path: Path) -> None:
    """Each command ends with status 0, each server becomes ready, all Python runs."""
    Page(tmp_path, blocks(page)).run()


def test_a_pipeline_may_end_early(tmp_path: Path) -> None:
    """As in a shell without pipefail."""
    Page(tmp_path, (Block("page.md", 1, "sh", "seq 1000000 | head -1\nseq 1000000 | grep -q 7\n"),)).run()


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (Block("page.md", 7, "sh", "echo begun\nfalse\ntrue\n"), "page.md:7: it ended with status 1\n  begun"),
        (Block("page.md", 8, "sh", "exit 3 | cat\n"), "page.md:8: it ended with status 3"),
        (Block("page.md", 9, "python", "import os\nos.nothing\n"), 'File "page.md", line 10'),
    ],
)
def test_what_fails_is_found_in_the_page(block: Block, said: str, tmp_path: Path) -> None:
    """By its line, with what came out."""
    with pytest.raises(AssertionError, match=re.escape(said)):
        Page(tmp_path, (block,)).run()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("nginx", "proxy_sets_header Host $host;"),
        ("haproxy", "backend web\n    servers web 127.0.0.1:8000"),
        ("caddyfile", "example.com {\n    reverse_proxies 127.0.0.1:8000\n}"),
        ("promql", "rate(twistserve_http_requests_total)"),
    ],
)
def test_the_program_refuses_what_is_wrong(language: str, text: str, tmp_path: Path) -> None:
    """And what it says is told."""
    assert program_fault(Block("page.md", 1, language, text), tmp_path)


@pytest.mark.parametrize("block", of_languages(*CHECKS), ids=lambda block: block.where)
def test_the_program_accepts_the_configuration(block: Block, tmp_path: Path) -> None:
    """HAProxy and its like; what is a part of a file has the rest around it."""
    fault = program_fault(block, tmp_path)
    assert fault is None, block.failed(fault)


def test_prometheus_accepts_its_rules_and_its_configuration(tmp_path: Path) -> None:
    """Of all pages: most YAML is Kubernetes'."""
    found = [(block, prometheus_fault(block.text, tmp_path)) for block in of_languages("yaml")]
    faults = [block.failed(fault) for block, fault in found if fault]
    assert not faults, "\n\n".join(faults)
