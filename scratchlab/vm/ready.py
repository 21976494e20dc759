"""All that the first machine would otherwise wait for: QEMU, the image, the snapshot."""

from scratchlab.vm import accelerator, image, qemu, snapshot
from scratchlab.vm.hardware import Hardware
from scratchlab.vm.image import Image
from scratchlab.vm.progress import Progress, silent
from scratchlab.vm.recipe import default_machine


def prepare(kind: str = "", progress: Progress = silent, fresh: bool = False) -> Image:
    """Have everything that a machine of this kind starts from; what is there already is not mentioned."""
    made = (image.rebuild if fresh else image.have)(kind, progress)
    program = qemu.have(made.machine, progress)
    hardware = Hardware(made.machine, accelerator.choose(program, made))
    snapshot.forget_older_library(program, hardware, made)
    snapshot.have(program, hardware, made, progress)
    return made


def ready() -> bool:
    """Whether all of it is here, so that `Machine.start()` builds nothing: for those who would rather do without than wait."""
    machine = default_machine()
    program, built = qemu.find(machine), image.find(machine)
    if not program or not built:
        return False
    return snapshot.find(program, Hardware(machine, accelerator.choose(program, built)), built) is not None
