#!/bin/sh
# run.sh MACHINE HOST SCRIPT: boots the machine of build.sh's folder MACHINE with the folder HOST as /host, runs /host/SCRIPT in it as
# root, and prints what it prints, on the serial console. There is no network but lo. LIMIT is how many seconds it may take. It is software
# emulation whose clock counts instructions and skips idle time (-icount): how busy the host is makes no difference in there.
set -eu
exec nice -n 2 timeout "${LIMIT:-900}" qemu-system-x86_64 -accel tcg -icount shift=0,sleep=off -rtc clock=vm -cpu max -m 1024 -smp 1 -display none -nic none -no-reboot \
	-kernel "$1/vmlinuz" -initrd "$1/initrd.img" \
	-append "console=ttyS0 quiet mitigations=off audit=0 random.trust_cpu=on script=$3" \
	-virtfs local,path="$2",mount_tag=host,security_model=none -device virtio-rng-pci -serial stdio -monitor none
