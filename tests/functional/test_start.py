"""What docs/start.md shows is what happens: the probes, and what Prometheus is given."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.functional.harness import ROOT, Serve
from tests.support.functional.prometheus import promtool

PAGE = (ROOT / "docs" / "start.md").read_text()


def blocks(label: str) -> list[str]:
    return re.findall(rf"^```{label}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


QUERIES = re.findall(r"^(?:sum|histogram_quantile).*$", PAGE, re.MULTILINE)


def test_the_project_of_the_page(tmp_path: Path, serve: Serve) -> None:
    """A new project passes; without its database /ready says what the page shows; the queries ask for what there is."""
    project = tmp_path / "mysite"
    project.mkdir()
    for words in (["-m", "django", "startproject", "mysite", "."], ["manage.py", "migrate", "-v0"]):
        subprocess.run([sys.executable, *words], cwd=project, check=True)
    [options] = re.findall(r"^twistd -n --pidfile= djangoserve (.*)$", PAGE, re.MULTILINE)
    server = serve(*options.split(), cwd=project, settings=None)
    assert server.get("/").status == 200
    assert server.probe("/ready").json() == yaml.safe_load(blocks("json")[0])
    metrics = server.probe("/metrics").text
    assert QUERIES
    assert [name for name in re.findall(r"twistserve_\w+", " ".join(QUERIES)) if name not in metrics] == []

    (project / "db.sqlite3").rename(project / "lost.sqlite3")
    server.wait_until("/ready", 503)
    [shown] = re.findall(r"unapplied: (\w+\.\w+)", PAGE)
    [entry] = server.probe("/ready").json()["checks"]["migrations:default"]
    assert (entry["status"], f"unapplied: {shown}" in entry["output"]) == ("fail", True)
    assert server.probe("/alive").status == 200
    (project / "lost.sqlite3").rename(project / "db.sqlite3")
    server.wait_until()


def test_what_prometheus_is_given(tmp_path: Path) -> None:
    """It takes the configuration, which names the probe port, and the queries."""
    [configuration] = blocks("yaml")
    (tmp_path / "prometheus.yml").write_text(configuration)
    promtool("check", "config", tmp_path / "prometheus.yml")
    [job] = yaml.safe_load(configuration)["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8001"]}]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(QUERIES)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "page", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")
