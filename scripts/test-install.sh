#!/bin/sh
# test-install.sh [STAGE…]: the Debian package in a fresh Debian 12: chroot (installed, removed and purged with
# and without BlueZ) and boot (in qemu without any acceleration, under its own systemd). Wants root, debootstrap
# and, for boot, qemu-system-x86 and mkfs.ext4. All stages together write docs/test-install.md.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
for tool in debootstrap dpkg-deb; do
	command -v $tool >/dev/null 2>&1 || { echo "test-install.sh: $tool is missing" >&2; exit 1; }
done
[ "$(id -u)" -eq 0 ] || { echo "test-install.sh wants root" >&2; exit 1; }
write=
if [ $# -eq 0 ]; then
	write=docs/test-install.md
	set -- chroot boot
fi

# Roots are kept for the next run.
cache=${CACHE:-dist/test-install}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
# shellcheck disable=SC2016
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
report=$(mktemp)
work=$(mktemp -d)
mounted=

clean() {
	for m in $mounted; do umount -l "$m" || true; done
	rm -rf "$work" "$report"
}
trap clean EXIT
trap 'exit 1' INT TERM

# say prints and reports.
say() { printf '%s\n' "$*" | tee -a "$report"; }
# ok WHAT COMMAND…: the command has to succeed.
ok() {
	what=$1
	shift
	if [ -e "$work/out" ]; then mv "$work/out" "$work/last"; fi
	if "$@" >"$work/out" 2>&1; then say "ok    $what"; else
		say "FAIL  $what: $*"
		cat "$work/out" >&2
		exit 1
	fi
}
not() { ! "$@"; }
# in_root COMMAND…
in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@"; }

# fresh NAME INCLUDE makes $root, a fresh Debian 12.
fresh() {
	if [ ! -e "$cache/$1/.complete" ]; then
		rm -rf "${cache:?}/$1"
		debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$cache/$1" "$mirror" >"$cache/$1.log" 2>&1 ||
			{ tail "$cache/$1.log" >&2; exit 1; }
		: >"$cache/$1/.complete"
	fi
	root=$work/$1
	cp -a "$cache/$1" "$root"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
}

# packages: the version under test, and one after it to upgrade to.
packages() {
	VERSION=1.0.0 OUT=$work GO="$GO" sh scripts/deb.sh amd64
	VERSION=1.0.1 OUT=$work GO="$GO" sh scripts/deb.sh amd64
}

apt() { in_root apt-get -q -y --no-install-recommends "$@"; }

# root_with NAME PACKAGES…: a root in which nothing may be started, with /proc if that can be.
root_with() {
	fresh base ""
	mv "$root" "$work/$1"
	root=$work/$1
	shift
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	if mount -t proc proc "$root/proc" 2>/dev/null; then mounted="$mounted $root/proc"; fi
	cp "$work"/*.deb "$root/root/"
	[ $# -eq 0 ] || ok "prepare: apt install $*" apt install "$@"
}

link() { readlink "$root/etc/systemd/system/$1" 2>/dev/null || true; }
is() { [ "$1" = "$2" ] || { echo "\"$1\" is not \"$2\""; return 1; }; }
THEIRS=/lib/systemd/system/bluetooth.service
OURS=/lib/systemd/system/bluez-esphome.service

installed() {
	ok "the user is there" in_root id bluez-esphome
	ok "the configuration is root:bluez-esphome 640" is "$(in_root stat -c %U:%G:%a /etc/bluez-esphome/bluez-esphome.yaml)" root:bluez-esphome:640
	ok "the state is bluez-esphome's, 700" is "$(in_root stat -c %U:%a /var/lib/bluez-esphome)" bluez-esphome:700
	ok "the keys are root's, 700" is "$(in_root stat -c %U:%a /etc/bluez-esphome/keys)" root:700
	ok "the configuration is valid" in_root bluez-esphome check
	ok "--version is BlueZ's" is "$(in_root bluez-esphome --version)" 5.87
	if [ -e "$root/proc/self" ]; then
		ok "demo --exec true" in_root bluez-esphome demo --exec true
		ok "demo --exec bluez-esphome status" in_root bluez-esphome demo --exec 'bluez-esphome status'
	else
		say "skip  demo: /proc cannot be mounted here"
	fi
}

gone() {
	ok "purge" apt purge bluez-esphome
	for f in etc/bluez-esphome var/lib/bluez-esphome usr/bin/bluez-esphome usr/share/dbus-1/system.d/bluez-esphome.conf \
		usr/lib/systemd/system/bluez-esphome.service var/lib/misc/bluez-esphome.bluetooth; do
		ok "/$f is gone" [ ! -e "$root/$f" ]
	done
	ok "the user is gone" not in_root id bluez-esphome
}

stage_chroot() {
	say "## A Debian 12 without BlueZ, without systemd"
	root_with plain
	ok "apt install ./bluez-esphome_1.0.0_amd64.deb" apt install /root/bluez-esphome_1.0.0_amd64.deb
	installed
	ok "apt remove" apt remove bluez-esphome
	ok "the configuration stays" [ -e "$root/etc/bluez-esphome/bluez-esphome.yaml" ]
	gone

	say
	say "## With systemd, BlueZ only after it"
	root_with later systemd
	ok "apt install" apt install /root/bluez-esphome_1.0.0_amd64.deb
	ok "org.bluez activates ours" is "$(link dbus-org.bluez.service)" $OURS
	ok "ours is enabled" is "$(link multi-user.target.wants/bluez-esphome.service)" $OURS
	ok "apt install bluez" apt install bluez
	ok "bluetoothd stays off" is "$(link bluetooth.service)" /dev/null
	ok "org.bluez still activates ours" is "$(link dbus-org.bluez.service)" $OURS
	echo "# changed by hand" >>"$root/etc/bluez-esphome/bluez-esphome.yaml"
	ok "upgrade" apt install /root/bluez-esphome_1.0.1_amd64.deb
	ok "the changed configuration stays" grep -q "changed by hand" "$root/etc/bluez-esphome/bluez-esphome.yaml"
	ok "ours is still enabled" is "$(link multi-user.target.wants/bluez-esphome.service)" $OURS
	installed
	ok "apt remove" apt remove bluez-esphome
	ok "org.bluez activates bluetoothd" is "$(link dbus-org.bluez.service)" $THEIRS
	gone

	say
	say "## With systemd, on a host with a controller"
	root_with controller systemd
	mkdir -p "$root/sys/class/bluetooth/hci0"
	ok "apt install" apt install /root/bluez-esphome_1.0.0_amd64.deb
	ok "it prints the choice" grep -q "bluez-esphome-setup take-over" "$work/last"
	ok "nothing is enabled" is "$(link multi-user.target.wants/bluez-esphome.service)$(link dbus-org.bluez.service)$(link bluetooth.service)" ""
	gone

	say
	say "## With BlueZ and systemd: whether there is a controller cannot be known"
	root_with beside systemd bluez
	ok "org.bluez activates bluetoothd" is "$(link dbus-org.bluez.service)" $THEIRS
	ok "apt install" apt install /root/bluez-esphome_1.0.0_amd64.deb
	ok "it prints the choice" grep -q "bluez-esphome-setup take-over" "$work/last"
	ok "nothing changed: org.bluez activates bluetoothd" is "$(link dbus-org.bluez.service)" $THEIRS
	ok "nothing changed: ours is not enabled" is "$(link multi-user.target.wants/bluez-esphome.service)" ""
	installed
	ok "bluez-esphome-setup private" in_root bluez-esphome-setup private
	ok "the private unit is enabled" [ -L "$root/etc/systemd/system/multi-user.target.wants/bluez-esphome-private.service" ]
	ok "org.bluez activates bluetoothd" is "$(link dbus-org.bluez.service)" $THEIRS
	ok "bluez-esphome-setup take-over" in_root bluez-esphome-setup take-over
	ok "the private unit is not enabled" [ ! -L "$root/etc/systemd/system/multi-user.target.wants/bluez-esphome-private.service" ]
	ok "org.bluez activates ours" is "$(link dbus-org.bluez.service)" $OURS
	ok "bluetooth.service is masked" is "$(link bluetooth.service)" /dev/null
	ok "take-over once more changes nothing" in_root bluez-esphome-setup take-over
	ok "apt remove" apt remove bluez-esphome
	ok "org.bluez activates bluetoothd" is "$(link dbus-org.bluez.service)" $THEIRS
	ok "bluetooth.service is not masked" is "$(link bluetooth.service)" ""
	ok "bluetooth.service is enabled" is "$(link bluetooth.target.wants/bluetooth.service)" $THEIRS
	gone
	say
}

# stage_boot: see test-boot.sh, which runs inside.
stage_boot() {
	for tool in qemu-system-x86_64 mkfs.ext4; do
		command -v $tool >/dev/null 2>&1 || { say "skip  boot: $tool is missing"; return; }
	done
	say "## Booted in qemu, without BlueZ's controller"
	fresh vm systemd,systemd-sysv,dbus,udev,kmod,bluez,linux-image-cloud-amd64,initramfs-tools
	cp "$work"/*.deb "$root/root/"
	install -m 755 scripts/test-boot.sh "$root/root/test-boot.sh"
	cat >"$root/etc/systemd/system/test-boot.service" <<-'END'
		[Unit]
		After=multi-user.target
		[Service]
		Type=oneshot
		ExecStart=/root/test-boot.sh
		StandardOutput=tty
		StandardError=tty
		TTYPath=/dev/ttyS1
		ExecStopPost=/bin/systemctl --no-block poweroff
		[Install]
		WantedBy=default.target
	END
	in_root systemctl enable test-boot.service >/dev/null 2>&1
	in_root systemctl set-default multi-user.target >/dev/null 2>&1
	echo "/dev/vda / ext4 defaults 0 1" >"$root/etc/fstab"
	mkfs.ext4 -q -d "$root" "$work/disk" 3G
	start=$(date +%s)
	timeout 1200 qemu-system-x86_64 -accel tcg,thread=multi -m 1024 -smp 2 -display none -no-reboot -nic none \
		-kernel "$root/vmlinuz" -initrd "$root/initrd.img" -append "root=/dev/vda rw console=ttyS0 quiet" \
		-drive file="$work/disk",format=raw,if=virtio \
		-serial file:"$cache/console.log" -serial file:"$work/boot" -device virtio-rng-pci || true
	tr -d '\r' <"$work/boot" | tee -a "$report"
	if ! grep -q '^all passed' "$work/boot"; then
		say "FAIL  boot; the console is in $cache/console.log"
		exit 1
	fi
	say "the machine ran for $(($(date +%s) - start)) s"
}

packages
for stage in "$@"; do
	case $stage in
	chroot) stage_chroot ;;
	boot) stage_boot ;;
	*) echo "test-install.sh: no stage $stage" >&2; exit 2 ;;
	esac
done
if [ -n "$write" ]; then
	{
		echo "# The package, installed"
		echo
		echo "Written by \`make test-install\`, on Debian 12 roots; not in CI."
		sed -e '/^## /{s/^/\n/; s/$/\n\n```/}' -e 's/^$/```/' "$report" | awk 'NF || !blank {print} {blank = !NF}'
		echo '```'
	} >"$write"
	echo "wrote $write"
fi
