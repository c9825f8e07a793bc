"""Metrics that are hard to tell, and what a parser makes of an exposition."""

from __future__ import annotations

from typing import Any

HOSTILE = ['say "no"', "back\\slash", "two\nlines", "100 %d %s %%", "ünï", "{}", 'a="b",c', "\\n", ""]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(families: Any) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
