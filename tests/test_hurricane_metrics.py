"""docs/hurricane-metrics.md: its code does what it says, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "hurricane-metrics.md").read_text()
BLOCK = "```python\n(.*?)```\n\n"
SECTIONS = re.findall(rf"^### `(\w+)`\n\n{BLOCK}{BLOCK}```text\n(.*?)```\n", TEXT, re.MULTILINE | re.DOTALL)
CLASSES = {"registry", "StoredMetric", "CalculatedMetric", "CounterMetric", "AverageMetric", "ObservedMetric"}
SHOW = """
from prometheus_client import REGISTRY, generate_latest
print(generate_latest(REGISTRY).decode())
"""


def test_every_class_of_hurricane_has_its_section() -> None:
    """With its code there and here, and what is exported."""
    assert {name for name, *_ in SECTIONS} == CLASSES
    assert len(re.findall("```python", TEXT)) == 2 * len(CLASSES)


@pytest.mark.parametrize(
    ("there", "here", "exported"), [section[1:] for section in SECTIONS], ids=[section[0] for section in SECTIONS]
)
def test_the_code_exports_what_the_document_says(there: str, here: str, exported: str) -> None:
    """All of it, but for the times of creation; Hurricane's, which is not installed here, is Python at least."""
    compile(there, "there", "exec")
    assert "hurricane" not in here
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", here + SHOW], capture_output=True, text=True, check=True
    )
    shown = [line for line in done.stdout.splitlines() if line.startswith("shop_") and "_created" not in line]
    assert shown == exported.splitlines()
