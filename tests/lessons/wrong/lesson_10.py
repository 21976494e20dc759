from scratchlab import linux
from scratchlab.linux import nftables
from tests.lessons.wrong.nothing import nothing

CHAINS = {
    "arriving": "type nat hook prerouting priority dstnat",
    "own": "type nat hook output priority -100",
    "leaving": "type nat hook postrouting priority srcnat",
}
LEADS_IN = "fib daddr type local tcp dport 8080 dnat to 198.51.100.2:80"


def rules(**by_chain):
    chains = [f"add chain ip published {chain} {{ {CHAINS[chain]}; }}" for chain in by_chain]
    lines = [f"add rule ip published {chain} {rule}" for chain, rule in by_chain.items()]
    nftables.run("\n".join(["create table ip published", *chains, *lines]))


def local_packets_may_leave():
    linux.write_file("/proc/sys/net/ipv4/conf/to-web/route_localnet", "1")


def leads_to_the_hosts_own_port():
    rules(arriving="tcp dport 8080 redirect to :80")


def every_port():
    rules(arriving="fib daddr type local meta l4proto tcp dnat to 198.51.100.2:80")


def everybodys_port():
    rules(arriving="tcp dport 8080 dnat to 198.51.100.2:80")


def only_what_arrives():
    rules(arriving=LEADS_IN)


def not_from_loopback():
    rules(arriving=LEADS_IN, own=LEADS_IN)


def loopback_without_a_switch():
    rules(arriving=LEADS_IN, own=LEADS_IN, leaving="ip saddr 127.0.0.0/8 masquerade")


def loopback_without_masquerade():
    rules(arriving=LEADS_IN, own=LEADS_IN)
    local_packets_may_leave()


def no_hairpin():
    rules(arriving=LEADS_IN, own=LEADS_IN, leaving="ip saddr 127.0.0.0/8 masquerade")
    local_packets_may_leave()


def everybody_is_the_host():
    rules(arriving=LEADS_IN, own=LEADS_IN, leaving="masquerade")
    local_packets_may_leave()


ANSWERS = {
    "publish": {
        nothing: "friend gets an answer at 203.0.113.1, port 8080",
        leads_to_the_hosts_own_port: "friend gets an answer at 203.0.113.1, port 8080",
        every_port: "only port 8080 leads there",
        everybodys_port: "port 8080 of other machines stays theirs, and is closed",
        only_what_arrives: "the host itself gets an answer at 203.0.113.1",
        not_from_loopback: "and at 127.0.0.1",
        loopback_without_a_switch: "and at 127.0.0.1",
        loopback_without_masquerade: "and at 127.0.0.1",
        no_hairpin: "web gets an answer from itself, by way of the host",
        everybody_is_the_host: "web sees the address of those who ask from outside",
    },
}
