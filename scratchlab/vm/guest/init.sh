#!/bin/busybox sh
# The guest's first program, on its own disk: mounts, modules, network; then pid 1 goes on as agent.py.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export PYTHONPATH=/opt/scratchlab:/opt/py JUPYTER_PATH=/opt/py/share/jupyter

busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mkdir -p /dev/pts /dev/shm
busybox mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
busybox mount -t tmpfs -o mode=1777 tmpfs /dev/shm
busybox mount -t tmpfs -o mode=755 tmpfs /run
busybox mkdir -p /run/netns
busybox ln -sf /proc/self/fd /dev/fd
busybox ln -sf pts/ptmx /dev/ptmx
busybox mount -t securityfs securityfs /sys/kernel/security
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "+cpu +memory +pids +io +cpuset" >/sys/fs/cgroup/cgroup.subtree_control

# An image that was built where user namespaces are forbidden has files of the builder's number. Changing the owner clears
# the bits that make a program run as its owner, so those are set again.
if [ "$(busybox stat -c %u /etc/passwd)" != 0 ]; then
    programs=$(busybox find /usr -xdev -perm -4000)
    busybox find / -xdev -exec busybox chown -h 0:0 {} +
    busybox chmod 4755 $programs
fi
busybox chown 1000:1000 /home/student
busybox chmod 1777 /tmp /var/tmp
busybox chmod 640 /etc/shadow
busybox chmod 755 /root # lessons run there, and some of their programs become other users

# The same where the image was built on another kind of processor.
[ -e "/lib/modules/$(busybox uname -r)/modules.dep" ] || /sbin/depmod

while read -r module; do busybox insmod "$module"; done </etc/modules-to-load

busybox hostname lab
/usr/bin/ip -batch - <<END
link set lo up
addr add 10.0.2.15/24 dev eth0
link set eth0 up
route add default via 10.0.2.2
END
exec /usr/bin/python3 -m scratchlab.vm.guest.agent
