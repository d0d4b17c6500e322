"""What a command line passes for a switch."""

import pytest

from common.checks import check_switches


def test_a_switch_is_true_or_false_and_no_text():
    check_switches(report=True, strict=False)
    with pytest.raises(ValueError, match="strict must be True or False, got 'false'"):
        check_switches(report=True, strict="false")
