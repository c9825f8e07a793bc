"""What tests/http still imports from here; it is in tests/support."""

from tests.support.functional.harness import wait_for

__all__ = ["wait_for"]
