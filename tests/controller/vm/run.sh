#!/bin/sh
# run.sh MACHINE HOST SCRIPT: boots the machine in the folder MACHINE, which build.sh made, with the folder HOST as
# /host, and runs /host/SCRIPT in it as root. It prints the output of the script, which comes over the serial console.
# The machine has no network but lo. LIMIT is how many seconds it may take. It is emulated, and its clock counts
# instructions and skips idle time (-icount): the load of the host makes no difference inside.
set -eu
exec nice -n 2 timeout "${LIMIT:-900}" qemu-system-x86_64 -accel tcg -icount shift=0,sleep=off -rtc clock=vm -cpu max -m 1024 -smp 1 -display none -nic none -no-reboot \
	-kernel "$1/vmlinuz" -initrd "$1/initrd.img" \
	-append "console=ttyS0 quiet mitigations=off audit=0 random.trust_cpu=on script=$3" \
	-virtfs local,path="$2",mount_tag=host,security_model=none -device virtio-rng-pci -serial stdio -monitor none
