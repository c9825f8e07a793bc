"""Code blocks of the documents, as far as nothing has to run: each has a language, and is what that says.

Those that run are in tests/functional/test_code_blocks.py.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.documents.blocks import blocks, blocks_of, pages
from tests.support.documents.labels import CHECKS, RUN_ELSEWHERE
from tests.support.documents.project import write_file, write_mysite
from tests.support.documents.shell import Ports, serves

KNOWN = ", ".join(sorted([*CHECKS, *RUN_ELSEWHERE]))


@pytest.mark.parametrize("page", pages())
def test_each_block_is_in_the_language_that_it_names(page: str) -> None:
    """An indented block and a fence without a language name none."""
    faults = []
    for block in blocks(page):
        if block.language in CHECKS:
            fault = CHECKS[block.language](block.text)
        elif block.language in RUN_ELSEWHERE:
            fault = None
        else:
            fault = f"a fenced block in one of these languages: {KNOWN}"
        if fault:
            faults.append(block.failed(fault))
    assert not faults, "\n\n".join(faults)


def test_blocks_are_found_wherever_they_stand() -> None:
    """In lists and notes, with the line of their first line of code; contents and pictures are none."""
    page = """\
        ```sh
        true
        ```

        - A list:

          ```python
          # mysite/urls.py
          urlpatterns = []
          ```

        ````{note}
        Of this:

        ```
        bare
        ```
        ````

        ```{toctree}
        index
        ```

            indented

        ```{code-block} python
        hidden
        ```
        """
    found = [(block.line, block.language, block.path) for block in blocks_of("page.md", dedent(page))]
    assert found == [
        (2, "sh", None),
        (8, "python", "mysite/urls.py"),
        (16, "", None),
        (24, "indented", None),
        (27, "{code-block} python", None),
    ]


@pytest.mark.parametrize(
    ("language", "text", "fault"),
    [
        ("sh", "twistd -n djangoserve \\\n  --static\n", None),
        ("sh", "$ true", "a prompt"),
        ("sh", "python -c '\nprint(1)\n'", None),
        ("sh", "cat > mysite/note.txt <<'END'\nIt's here.\nEND", None),
        ("sh", "pip install 'twistserve[tls,http2]'", None),
        ("sh", "pip install 'twistserve[grpc]'", "amqp, debug, http2"),
        ("sh", "true && kubectl get pods", "`console`"),
        ("sh", "twistd -n djangoserve\ncurl localhost:8000", "ends its block"),
        ("sh", "twistd -n djangoserve --print-options\ntrue", None),
        ("console", "# to the cluster\nkubectl apply \\\n  -f .\n", None),
        ("console", "python manage.py kubernetes | kubectl apply -f -", None),
        ("console", ".venv/bin/python -m benchmarks.probes 20", None),
        ("console", "$ kubectl get pods\nNAME  READY", None),
        ("console", "python manage.py kubernetes", "`sh`"),
        ("console", "$ kubectl port-forward POD 8001\nForwarding\n$ curl localhost:8001/ready", None),
        ("console", "$ curl localhost:8001/ready\n{}", "a test can run `curl"),
        ("console", "curl https://www.example.com/", None),
        ("sh", "curl https://www.example.com/", "`console`"),
        ("sh", "kill -QUIT PID", "`console`"),
        ("diff", "-replicas: 1\n+replicas: 2\n", None),
        ("diff", '-CMD ["gunicorn"]\n+CMD ["twistd", "-n"]\n', None),
        ("diff", "+replicas: 2\n", "begins with"),
        ("diff", "-a: b\n+a: b: c\n", "no language"),
        ("text", "pass queue 0\nfail database:default: raised OperationalError", None),
        ("text", "djangoserve\n  LogService   where log lines go", None),
        ("text", "collectstatic: 3 files copied", None),
        ("text", "twistd -n djangoserve", "a command"),
        ("text", '{"status": "pass"}', "JSON"),
        ("text", "import os", "Python"),
        ("text", "spec:\n  replicas: 2\n", "YAML"),
        ("python", "def view(request):\n    ...\n", None),
        ("python", "def view(request)\n", "expected ':'"),
        ("json", '// .vscode/launch.json\n{"version": "0.2.0"}', None),
        ("json", '{"version": ...}', "Expecting value"),
        ("toml", "a = 1\n", None),
        ("toml", "a = b\n", "Invalid value"),
        ("ini", "[uwsgi]\nhttp = :8000\n", None),
        ("ini", "http = :8000\n", "no section headers"),
        ("dockerfile", 'HEALTHCHECK --timeout=7s \\\n  CMD ["python", "-m", "twistserve.probes"]', None),
        ("dockerfile", "CMD ['twistd']", "Expecting value"),
        ("dockerfile", "twistd -n", "no instruction"),
        ("yaml", "groups: []\ngroups: []", "twice: groups"),
        ("yaml", "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: {}", None),
        ("yaml", "apiVersion: apps/v1\nkind: Deploy\nspec: {}", "no Deploy"),
        ("yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {port: 80}", "'port'"),
        ("yaml", "containers: [{name: web, image: web, env: {A: b}}]", "spec.containers.0.env"),
        ("yaml", "livenessProbe: {httpGet: {path: /alive, port: probes}, timeoutSeconds: six}", "'six'"),
        ("yaml", "readinessProbe: {httpGet: {path: /ready, port: probes}}", None),
        ("yaml", "# values.yaml\noptions: {threads: 8}\n", None),
        ("yaml", "# values.yaml\noption: {threads: 8}\n", "'option'"),
    ],
)
def test_a_language_is_a_promise(language: str, text: str, fault: str | None) -> None:
    """And what breaks it is told."""
    found = CHECKS[language](text)
    assert found is None if fault is None else found and fault in found, found


@pytest.mark.parametrize(
    ("command", "server"),
    [
        ("twistd -n djangoserve --static", True),
        ("TWISTSERVE_THREADS=4 MOTD='hello there' twistd -n djangoserve", True),
        ("python manage.py serve", True),
        ("python manage.py serve --help", False),
        ("twist djangoserve --print-options-json | jq .PORT", False),
        ("python manage.py kubernetes", False),
    ],
)
def test_what_goes_on_until_it_is_ended_is_a_server(command: str, server: bool) -> None:
    """And is started in the background."""
    assert serves(command) is server


def test_ports_are_replaced_by_free_ones() -> None:
    """Those of the page, neighbours by neighbours, and no other number."""
    free = count(20000, 2)
    ports = Ports(lambda: next(free))
    text = "twistd -n djangoserve --port 9000 --threads 8000 && curl localhost:9001/ready?n=1234 127.0.0.1:8001"
    ports.learn(text)
    expected = "twistd -n djangoserve --port 20002 --threads 20000 && curl localhost:20003/ready?n=1234 127.0.0.1:20001"
    assert ports.replaced(text) == expected


def test_what_a_page_shows_of_a_file_is_completed(tmp_path: Path) -> None:
    """Settings come after those that are there, an ellipsis is what the list has had; else the block is the file."""
    write_mysite(tmp_path, installed=False)
    write_file(tmp_path, "mysite/settings.py", 'INSTALLED_APPS = [..., "twistserve", "sales"]\nDEBUG = False\n')
    write_file(tmp_path, "mysite/urls.py", "urlpatterns = []\n")
    write_file(tmp_path, "sales/models.py", "")
    names: dict[str, object] = {"__file__": str(tmp_path / "mysite" / "settings.py")}
    exec((tmp_path / "mysite" / "settings.py").read_text(), names)
    assert names["DEBUG"] is False
    assert isinstance(apps := names["INSTALLED_APPS"], list)
    assert apps[-3:] == ["shop", "twistserve", "sales"]
    assert apps.count("twistserve") == 1
    assert (tmp_path / "mysite" / "urls.py").read_text() == "urlpatterns = []\n"
    assert (tmp_path / "sales" / "__init__.py").exists()
