#!/bin/sh
# Run once, before the snapshot: modules and pages that lessons need are then in memory. Nothing of it may be seen later:
# links are made in a network namespace of their own, so that the numbers of later links do not depend on it.
exec >/dev/null 2>&1
for module in overlay veth bridge br_netfilter nf_tables nft_chain_nat nft_nat nft_masq nft_ct nft_redir nft_reject_inet \
    nft_limit nf_conntrack_netlink macvlan tun af_packet loop fuse; do modprobe $module; done

unshare --net sh <<'END'
ip netns add warm
ip link add warm0 type veth peer name warm1 netns warm
ip addr add 10.254.0.1/30 dev warm0
ip link set warm0 up
ip -n warm addr add 10.254.0.2/30 dev warm1
ip -n warm link set warm1 up
ip netns exec warm ping -c1 -W2 10.254.0.1
nft add table ip warm
nft add chain ip warm post '{ type nat hook postrouting priority 100; }'
nft add rule ip warm post ip saddr 10.254.0.0/30 counter masquerade
nft list ruleset
nft delete table ip warm
ip netns del warm
ip link add warmb type bridge
END

unshare --fork --pid --mount --uts --ipc --net --cgroup --user --map-root-user --mount-proc sh -c \
    'hostname warm; ps; id; ls /; cat /proc/self/status; mount -t tmpfs tmpfs /mnt'

mkdir -p /tmp/warm/lower /tmp/warm/upper /tmp/warm/work /tmp/warm/merged
unshare --mount mount -t overlay overlay -o lowerdir=/tmp/warm/lower,upperdir=/tmp/warm/upper,workdir=/tmp/warm/work /tmp/warm/merged
rm -r /tmp/warm
mkdir /sys/fs/cgroup/warm
echo 20M >/sys/fs/cgroup/warm/memory.max
rmdir /sys/fs/cgroup/warm
bash -c 'echo $((1 + 1)) | awk "{print}" | grep . | sed p | sort | head; curl -s http://127.0.0.1:9/; nsenter -t 1 -m true
    chroot / true; strace -f true; df; free; busybox true; tar --version; capsh --print'
