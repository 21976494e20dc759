"""Attacks on a whole machine, in one that can be thrown away."""

from tests.conftest import needs_root
from tests.vm.test_testing import ROOT, vm_test

pytestmark = needs_root


def test_the_walls_hold_there_and_without_them_the_attacks_get_out(built: None) -> None:
    done = vm_test(ROOT, "-n", "1", "tests/attacks/test_disposable.py", "-q")

    assert done.returncode == 0, done.stdout
    assert "8 passed, 2 skipped" in done.stdout  # skipped: that a machine which is to be kept is spared
