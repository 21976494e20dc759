import os
import signal
import subprocess

from tests.lessons.wrong.nothing import nothing


def becomes_the_command(*command):
    os.execvp(command[0], command)


def ignores_signals(*command):
    return subprocess.run(command).returncode


def just_dies(*command):
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    return child.wait()


def waits_for_one(*command):
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def loses_the_status(*command):
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    while os.wait()[0] != child:
        pass


ANSWERS = {
    "die-properly": {
        nothing: "the command runs",
        becomes_the_command: "it runs as a child of process 1",
        ignores_signals: "process 1 ends when it is asked to",
        just_dies: "the command was asked, too, and not killed",
        waits_for_one: "no orphan stays a zombie",
        loses_the_status: "the command's status comes out",
    },
}
