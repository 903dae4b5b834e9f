#!/bin/busybox sh
# The guest's first process: mounts what a host has, runs /job/script on the second serial line, powers off.
export PATH=/bin:/job HOME=/root TERM=dumb RUST_BACKTRACE=1
# How the live tests find the agent and their helpers.
export INFERSCOPE_BIN=/job/inferscope SUPPORT_BIN_DIR=/job
# Nobody else uses this machine's clock.
export INFERSCOPE_OWN_MACHINE=1
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
mount -t tmpfs none /tmp
mount -t tmpfs none /run
mount -t tracefs none /sys/kernel/tracing
mount -t debugfs none /sys/kernel/debug
mount -t bpf none /sys/fs/bpf
mount -t securityfs none /sys/kernel/security
mount -t cgroup2 none /sys/fs/cgroup
ulimit -l unlimited
ulimit -c 0
ifconfig lo 127.0.0.1 up
stty raw -echo < /dev/ttyS1
exec > /dev/ttyS1 2>&1 < /dev/null
echo "@@inferscope release=$(uname -r)"
# A sign of life each second on the console; after fifteen minutes, what every processor and every blocked task is at.
(
    beats=0
    while sleep 1; do
        echo "@@inferscope beat" >/dev/ttyS0
        beats=$((beats + 1))
        if [ $beats -eq 900 ]; then
            echo 8 >/proc/sys/kernel/printk
            echo l >/proc/sysrq-trigger
            echo w >/proc/sysrq-trigger
        fi
    done
) &
cd /job
. /job/script
sync
poweroff -f
