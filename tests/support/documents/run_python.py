"""Run the Python of a page, in a process of its own: blocks as JSON on standard input, tracebacks as they fail.

A block runs as a module of the name of its file, or of no name, once Django is set up. Lines are those of the page.
"""

from __future__ import annotations

import json
import sys
import traceback
from types import ModuleType


def main() -> int:
    """The number of blocks that fail."""
    import django

    django.setup()
    failed = 0
    for block in json.load(sys.stdin):
        name = (block["path"] or "block.py").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if name in sys.modules and name != "block":
            # Django has imported it already: a model cannot be there twice.
            continue
        module = ModuleType(name)
        module.__file__ = block["path"]
        module.__package__ = name.rpartition(".")[0]
        sys.modules[name] = module
        text = "\n" * (block["line"] - 1) + block["text"]
        try:
            exec(compile(text, block["page"], "exec"), vars(module))
        except Exception:
            traceback.print_exc()
            failed += 1
        finally:
            sys.modules.pop(name, None)
    return failed


if __name__ == "__main__":
    sys.path.insert(0, "")
    sys.exit(main())
