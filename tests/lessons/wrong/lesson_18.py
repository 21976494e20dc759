from scratchlab.lessons.course.lesson_18 import WORKLOADS, decide
from scratchlab.lessons.kinds import kinds
from tests.lessons.wrong.nothing import nothing


def one_word(workload, facts):
    return "container"


def always_a_container(workload, facts):
    return "container", "start_ms"


def always_a_machine(workload, facts):
    return "machine", "own_kernel"


def safety_is_quick(workload, facts):
    return ("container", "start_ms") if workload.trusted else ("machine", "start_ms")


def any_need_is_a_machine(workload, facts):
    return ("machine", workload.needs[0]) if workload.needs else ("container", "memory_kb")


def trusts_everybody(workload, facts):
    lacks = [need for need in workload.needs if not getattr(facts.container, need)]
    return ("machine", lacks[0]) if lacks else ("container", "start_ms")


def learnt_by_heart(workload, facts):
    return {each: decide(each, kinds()) for each in WORKLOADS}[workload]


ANSWERS = {
    "container-or-machine": {
        nothing: "it gives a choice and a fact for each of the six",
        one_word: "it gives a choice and a fact for each of the six",
        safety_is_quick: "the fact speaks for the choice: there it is better than the other",
        any_need_is_a_machine: "the fact speaks for the choice: there it is better than the other",
        always_a_container: "what a container cannot have for itself gets a machine",
        trusts_everybody: "what nobody trusts gets a kernel of its own",
        always_a_machine: "all others go where they cost less",
        learnt_by_heart: "with other facts, it decides otherwise",
    },
}
