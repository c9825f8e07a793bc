"""The tests; pytest shows the values in the assertions of their helpers too."""

import pytest

pytest.register_assert_rewrite("tests.support")
