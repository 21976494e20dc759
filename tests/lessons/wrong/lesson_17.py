import os
import subprocess

from scratchlab import linux, stages
from scratchlab.linux import Clone
from tests.lessons.wrong.nothing import nothing

ALL = Clone.NEWNS | Clone.NEWPID | Clone.NEWUTS | Clone.NEWIPC | Clone.NEWNET


def in_child(command, act):
    child = os.fork()
    if child == 0:
        act()
        os.execvp(command[0], command)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stays_outside(_pid, *command):
    return subprocess.run(command).returncode


def only_the_files(pid, *command):
    linux.setns(linux.pidfd_open(pid), Clone.NEWNS)
    return in_child(command, nothing)


def without_a_child(pid, *command):
    linux.setns(linux.pidfd_open(pid), ALL)
    os.execvp(command[0], command)


def forgets_the_network(pid, *command):
    linux.setns(linux.pidfd_open(pid), ALL & ~Clone.NEWNET)
    return in_child(command, nothing)


def stays_strong(pid, *command):
    linux.setns(linux.pidfd_open(pid), ALL)
    return in_child(command, nothing)


def loses_the_status(pid, *command):
    linux.setns(linux.pidfd_open(pid), ALL)
    in_child(command, lambda: stages.capabilities([]))


ANSWERS = {
    "enter": {
        nothing: "the command runs",
        stays_outside: "it sees the container's files",
        only_the_files: "it is in the container's list of processes",
        without_a_child: "it is in the container's list of processes",
        forgets_the_network: "it has the container's name, shared memory and network",
        stays_strong: "it is no stronger than those that it visits",
        loses_the_status: "its status comes back",
    },
}
