"""Lesson 10, bridge, NAT and publishing a port: the rules that a packet meets on its way."""

from collections.abc import Callable
from typing import Any

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.hosts import street
from scratchlab.lessons.network import ask, listen
from scratchlab.lessons.outline import Outline
from scratchlab.linux import nftables
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

WEB, HOST_TO_WEB, HOST, FRIEND = "198.51.100.2", "198.51.100.1", "203.0.113.1", "203.0.113.2"


def publishing(answer: Answer) -> Facts:
    """Let the answer make rules on a throw-away host, with a server behind it. Who is answered at port 8080?"""
    with street() as (web, host, friend):
        web.play([step(listen, 80)])
        let(host, answer)

        def told(box: Sandbox, address: str, port: int = 8080) -> Any:
            return box.play([step(ask, address, port)])[0]["value"]

        return {
            "friend": told(friend, HOST),
            "another port": told(friend, HOST, 8081),
            "friend's own": {"web": told(web, FRIEND), "the host": told(host, FRIEND)},
            "host": told(host, HOST),
            "loopback": told(host, "127.0.0.1"),
            "web": told(web, HOST_TO_WEB),
        }


def publish() -> None:
    """For what arrives, for what the host itself sends, and an answer that finds back in the two odd cases."""
    nftables.run("""
        create table ip published
        add chain ip published arriving { type nat hook prerouting priority dstnat; }
        add chain ip published own { type nat hook output priority -100; }
        add chain ip published leaving { type nat hook postrouting priority srcnat; }
        add rule ip published arriving fib daddr type local tcp dport 8080 dnat to 198.51.100.2:80
        add rule ip published own fib daddr type local tcp dport 8080 dnat to 198.51.100.2:80
        add rule ip published leaving ip saddr { 127.0.0.0/8, 198.51.100.0/24 } ct status dnat masquerade
    """)
    linux.write_file("/proc/sys/net/ipv4/conf/to-web/route_localnet", "1")


def _answered(who: str, key: str) -> Callable[[Facts], str]:
    def wrong(facts: Facts) -> str:
        return "" if "." in facts[key] else f"{who} gets: {facts[key]}"

    return wrong


def _hijacked(facts: Facts) -> str:
    wrong = [(who, answer) for who, answer in facts["friend's own"].items() if answer != "ECONNREFUSED"]
    return f"{wrong[0][0]} asks friend's own port 8080, where nobody listens, and gets: {wrong[0][1]}" if wrong else ""


PUBLISH = Exercise(
    "publish",
    answer="publish",
    ask="""
    Write `publish()`. It runs on a host to throw away, which has no rules yet, and makes them with `nftables.run`. Port
    8080 of the host, at each of its addresses, leads to port 80 of web. Whoever asks there gets an answer: friend, the
    host itself, and web.

        web 198.51.100.2 ── 198.51.100.1 (to-web) host (to-friend) 203.0.113.1 ── 203.0.113.2 friend
    """,
    observe=publishing,
    claims=(
        Claim(
            "friend gets an answer at 203.0.113.1, port 8080",
            _answered("friend, which asks the host at port 8080,", "friend"),
            (
                "Which hook does a packet from another machine meet before the host decides where it goes?",
                "A chain of type nat, with hook prerouting; and in its rule, dnat to an address with a port.",
            ),
        ),
        Claim(
            "only port 8080 leads there",
            lambda facts: (
                "" if "." not in facts["another port"] else "friend asks the host at port 8081, and web answers that, too"
            ),
            (
                'What does your rule say about the port that was asked for? Print nftables.run("list ruleset").',
                "tcp dport 8080",
            ),
        ),
        Claim(
            "port 8080 of other machines stays theirs, and is closed",
            _hijacked,
            (
                "Which packets pass through this hook besides those for the host itself? Look at what web asks for.",
                "A rule can ask whether the address is one of the host's own: fib daddr type local.",
            ),
        ),
        Claim(
            "the host itself gets an answer at 203.0.113.1",
            _answered("the host, which asks itself at 203.0.113.1,", "host"),
            (
                "A packet that the host itself sends does not arrive anywhere. Which hook does it meet first?",
                "The hook is output, and a second chain of type nat hangs there: priority -100.",
            ),
        ),
        Claim(
            "and at 127.0.0.1",
            _answered("the host, which asks itself at 127.0.0.1,", "loopback"),
            (
                "Where would web send its answer to 127.0.0.1? And does the host send such a sender's address out at all?",
                "A chain of type nat at hook postrouting, and masquerade for ip saddr 127.0.0.0/8.",
                "The link to-web has a switch below /proc/sys/net/ipv4/conf: route_localnet, in ip-sysctl.",
            ),
        ),
        Claim(
            "web gets an answer from itself, by way of the host",
            _answered("web, which asks the host at 198.51.100.1,", "web"),
            (
                "web's question comes back to web itself. Whose address is the sender's, and what does a machine make of that?",
                "The answer must come back through the host, which only the sender's address can bring about.",
            ),
        ),
        Claim(
            "web sees the address of those who ask from outside",
            lambda facts: (
                "" if facts["friend"] == FRIEND else f"friend asked, and web believes that it was {facts['friend']}: it logs you"
            ),
            (
                "Whose address do you replace that could have been answered? Look at which senders masquerade is for.",
                "Only two kinds of senders need it: 127.0.0.0/8, and web's own subnet.",
            ),
        ),
    ),
    solution=publish,
)

_CABLE = (step(stages.unshare_net), step(stages.veth, "198.51.100.0/24"))

OUTLINE = Outline(
    "Bridge, NAT, and publishing a port",
    45,
    points={
        "a cable": _CABLE,
        "a way out": (*_CABLE, step(stages.nat)),
        "on a switch": (step(stages.unshare_net), step(stages.bridge, "lesson10", "198.51.100.0/24")),
    },
    exercises=(PUBLISH,),
)
