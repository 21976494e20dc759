import os
import shutil

from scratchlab.lessons.course.lesson_02 import needed
from tests.lessons.wrong.nothing import nothing


def only_the_program(root):
    os.makedirs(f"{root}/bin")
    shutil.copy("/bin/ls", f"{root}/bin/ls")


def without_mode(root):
    os.makedirs(f"{root}/bin")
    shutil.copyfile("/bin/ls", f"{root}/bin/ls")


def a_link(root):
    os.makedirs(f"{root}/bin")
    os.symlink("/usr/bin/ls", f"{root}/bin/ls")


def without_libraries(root):
    only_the_program(root)
    for loader in (path for path in needed() if "/ld-" in path):
        os.makedirs(root + os.path.dirname(loader), exist_ok=True)
        shutil.copy(loader, root + loader)


def all_in_one_place(root):
    without_libraries(root)
    for path in needed():
        shutil.copy(path, f"{root}/bin")


ANSWERS = {
    "smallest-root": {
        nothing: "the program is in the new root, at /bin/ls",
        without_mode: "it is a file that can be executed",
        a_link: "it is a file that can be executed",
        only_the_program: "its loader is where the program asks for it",
        without_libraries: "its libraries are where the loader looks for them",
        all_in_one_place: "its libraries are where the loader looks for them",
    },
}
