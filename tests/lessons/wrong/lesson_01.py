import os
import signal

from tests.lessons.wrong.nothing import nothing


def raw_status(*argv):
    child = os.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    return os.waitpid(child, 0)[1], None


def does_not_wait(*argv):
    child = os.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # looks, and takes nothing away
    return 7, None


def negative_signal(*argv):
    child = os.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), None


def child_goes_on(*argv):
    child = os.fork()
    if child == 0:
        try:
            os.execvp(argv[0], argv)
        except OSError:
            return 127, None
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (code, None) if code >= 0 else (None, signal.Signals(-code).name)


ANSWERS = {
    "spawn": {
        nothing: "it comes back with something",
        does_not_wait: "no child is left behind as a zombie",
        raw_status: "a status is told as it is",
        negative_signal: "a signal is told by its name",
        child_goes_on: "a program that is not there is told as 127, and the child ends",
    },
}
