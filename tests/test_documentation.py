"""The tables in the documents are what the code says; `python -m tests.test_documentation` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import Counter, Gauge, Histogram
from twisted.scripts._twistd_unix import ServerOptions

from tests.support.chart.readme import value_rows
from tests.support.chart.written import CHART
from twistserve.consumer_options import CONSUMER_TABLE
from twistserve.metrics import amqp
from twistserve.metrics import catalogue as metrics
from twistserve.options import TABLE, Option

ROOT = Path(__file__).resolve().parents[1]


def option_rows() -> list[str]:
    """The table of options."""
    return _rows(TABLE)


def consumer_option_rows() -> list[str]:
    """A consumer's own options, and those that mean something else for it."""
    return _rows([option for option in CONSUMER_TABLE if option not in TABLE])


def _rows(table: Sequence[Option]) -> list[str]:
    rows = ["| option | default | meaning |", "| --- | --- | --- |"]
    for option in table:
        # A bar would divide the cell, though it is code.
        metavar = (option.kind.metavar or "").replace("|", "\\|")
        word = f"`--{option.word}" + ("`" if option.flag else f" {metavar}`")
        if option.negatable:
            word += f", `--no-{option.word}`"
        rows.append(f"| {word} | {_default(option)} | {option.help} |")
    return rows


def _default(option: Option) -> str:
    if option.default_text is not None:
        return option.default_text
    if option.flag:
        return "on" if option.default else "off"
    return "" if option.default in (None, ()) else f"`{option.default}`"


def metric_rows(module: ModuleType = metrics) -> list[str]:
    """The catalogue of the metrics."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in vars(module).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            described = next(iter(metric.describe()))
            name = described.name + ("_total" if isinstance(metric, Counter) else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            rows.append(f"| `{name}` | {metric._type} | {labels} | {described.documentation} |")
    return rows


TABLES: dict[tuple[str, str], Callable[[], list[str]]] = {
    ("docs/options.md", "options"): option_rows,
    ("docs/metrics.md", "metrics"): metric_rows,
    ("docs/amqp.md", "options"): consumer_option_rows,
    ("docs/amqp.md", "metrics"): partial(metric_rows, amqp),
    ("deploy/chart/README.md", "values"): lambda: value_rows(CHART / "values.yaml"),
}


def replaced(path: str, name: str) -> tuple[str, str]:
    """A document as it is, and with its table written anew."""
    text = (ROOT / path).read_text()
    table = "\n".join(TABLES[path, name]())
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    new = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)
    return text, new


@pytest.mark.parametrize(("path", "name"), TABLES)
def test_table_is_current(path: str, name: str) -> None:
    """The document's table is the one the code gives."""
    text, new = replaced(path, name)
    assert f"<!-- {name}: begin -->" in text
    assert text == new, "write it anew: python -m tests.test_documentation"


OF_OTHER_SERVERS = ("performance", "compare", "from-", "soak")
"""Pages, by the beginnings of their names, that have options of other servers and of benchmarks."""
OF_OTHERS = {
    **dict.fromkeys(("deploy", "fail-level", "noinput", "tag"), "manage.py check, migrate and collectstatic"),
    "init": "docker run",
    "validate": "kubectl",
    "worker-tmp-dir": "gunicorn",
    "log-file": "Twisted's twist",
    **dict.fromkeys(("pycharm-host", "pycharm-port"), "Django-Hurricane"),
}
"""Options of other programs that the documents name in code, and whose they are."""


def known_options() -> set[str]:
    """The words of our options, those of our management commands, and twistd's."""
    table = [*TABLE, *CONSUMER_TABLE]
    words = {option.word for option in table} | {f"no-{option.word}" for option in table if option.negatable}
    for name in ("serve", "consume", "kubernetes", "probe"):
        command = import_module(f"twistserve.management.commands.{name}").Command()
        for action in command.create_parser("manage.py", name)._actions:
            words |= {word.removeprefix("--") for word in action.option_strings if word.startswith("--")}
    return words | {word.rstrip("=") for word in ServerOptions().longOpt}


def test_each_option_that_a_document_names_exists() -> None:
    """In code within the text that begins with one, or is a command of ours; blocks are run."""
    known = known_options()
    unknown = set()
    for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "deploy/chart/README.md"]:
        if path.stem.startswith(OF_OTHER_SERVERS):
            continue
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        for code in re.findall(r"(?<!`)`((?:--|twistd?\b|[^`]*manage\.py)[^`]*)`(?!`)", text):
            # --check-migrations... stands for several.
            words = set(re.findall(r"(?:^|\s)--([a-z][\w-]*+)(?!\.)", code))
            unknown |= {f"{path.name}: --{word}" for word in words - known - OF_OTHERS.keys()}
    assert not unknown, "no option of ours; one of another program belongs to OF_OTHERS"


if __name__ == "__main__":
    for path, name in TABLES:
        (ROOT / path).write_text(replaced(path, name)[1])
