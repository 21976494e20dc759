from tests.lessons.wrong.nothing import nothing

ALLOW, REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def only_a_list(calls):
    return {"names": calls, "action": ALLOW}


def as_recorded(calls):
    return {"defaultAction": REFUSE, "syscalls": [{"names": calls, "action": ALLOW}]}


def the_first_few(calls):
    return {"defaultAction": REFUSE, "syscalls": [{"names": ["execve", *calls[:5]], "action": ALLOW}]}


def all_is_allowed(calls):
    return {"defaultAction": ALLOW, "syscalls": [{"names": calls, "action": ALLOW}]}


def a_blocklist(calls):
    return ["mkdir", "mkdirat", "unshare", "setns", "keyctl", "add_key", "ptrace", "mount", "bpf"]


ANSWERS = {
    "from-a-recording": {
        nothing: "it is a profile that the stage takes",
        only_a_list: "it is a profile that the stage takes",
        as_recorded: "the program can be started under it",
        the_first_few: "the program does its work under it",
        all_is_allowed: "a call that it never made is refused",
        a_blocklist: "so is a newer call that does the same as one of its own",
    },
}
