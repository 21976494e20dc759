"""What tests of machines use is of use here too."""

from tests.vm.conftest import built, no_machine_left

__all__ = ["built", "no_machine_left"]
