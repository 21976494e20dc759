import os
from pathlib import Path

from scratchlab import linux
from scratchlab.lessons.course.lesson_11 import family_of
from tests.lessons.wrong.nothing import nothing


def only_writes_the_limit(group, _pid, most):
    linux.write_file(f"{group}/pids.max", str(most))


def only_moves(group, pid, _most):
    for member in family_of(pid):
        linux.write_file(f"{group}/cgroup.procs", str(member))


def moves_itself(group, _pid, most):
    linux.write_file(f"{group}/pids.max", str(most))
    linux.write_file(f"{group}/cgroup.procs", "0")


def forgets_the_children(group, pid, most):
    linux.write_file(f"{group}/pids.max", str(most))
    linux.write_file(f"{group}/cgroup.procs", str(pid))


def forgets_their_children(group, pid, most):
    forgets_the_children(group, pid, most)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        linux.write_file(f"{group}/cgroup.procs", child)


def watches_from_inside(group, pid, most):
    linux.write_file(f"{group}/pids.max", str(most))
    for member in [*family_of(pid), os.getpid()]:
        linux.write_file(f"{group}/cgroup.procs", str(member))


ANSWERS = {
    "fence": {
        nothing: "the group has the limit",
        only_moves: "the group has the limit",
        only_writes_the_limit: "the program is in the group",
        moves_itself: "the program is in the group",
        forgets_the_children: "so is all that it had started before",
        forgets_their_children: "so is all that it had started before",
        watches_from_inside: "nobody else is",
    },
}
