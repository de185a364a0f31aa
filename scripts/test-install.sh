#!/bin/sh
# test-install.sh [STAGE…]: tests the Debian package in a fresh Debian 12. The stages are chroot (it is installed,
# removed and purged with and without BlueZ), container (the daemon and a program in separate containers, and
# docs/container), boot (under systemd in qemu, without acceleration), and arm (the packages of other architectures, in
# qemu-user). It needs root and debootstrap, for containers podman and python3-venv, and for boot qemu-system-x86,
# mkfs.ext4 and cpio. It writes docs/evidence/test-install.md once every stage has passed.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
for tool in debootstrap dpkg-deb; do
	command -v $tool >/dev/null 2>&1 || { echo "test-install.sh: $tool is missing" >&2; exit 1; }
done
[ "$(id -u)" -eq 0 ] || { echo "test-install.sh wants root" >&2; exit 1; }
[ $# -gt 0 ] || set -- chroot container arm boot controller

# Roots are kept for the next run.
cache=${CACHE:-dist/test-install}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
# shellcheck disable=SC2016
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
report=$(mktemp)
work=$(mktemp -d)
mounted=
started=

clean() {
	# The word splitting is meant.
	# shellcheck disable=SC2086
	[ -z "$started" ] || kill $started 2>/dev/null || true
	for m in $mounted; do umount -l "$m" || true; done
	rm -rf --one-file-system "$work" "$report"
}
trap clean EXIT
trap 'exit 1' INT TERM

# say prints and reports.
say() { printf '%s\n' "$*" | tee -a "$report"; }
# ok WHAT COMMAND…: the command must succeed.
ok() {
	what=$1
	shift
	if [ -e "$work/out" ]; then mv "$work/out" "$work/last"; fi
	if "$@" >"$work/out" 2>&1; then say "ok    $what"; else
		say "FAIL  $what: $*"
		tail -n 20 "$work/out" "$work"/*.log >&2 || true
		exit 1
	fi
}
not() { ! "$@"; }
# until_ok COMMAND…: the command must succeed within 20 s.
until_ok() {
	for _ in $(seq 20); do
		if "$@"; then return 0; fi
		sleep 1
	done
	return 1
}
# background NAME COMMAND…: runs until the script ends; its output is $work/NAME.log.
background() {
	log=$work/$1.log
	shift
	"$@" >"$log" 2>&1 &
	started="$started $!"
}
# in_root COMMAND…
in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@"; }

# fresh NAME INCLUDE makes $root, a fresh Debian 12.
fresh() {
	if [ "$(cat "$cache/$1/.complete" 2>/dev/null || echo none)" != "$2" ]; then
		rm -rf "${cache:?}/$1"
		debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$cache/$1" "$mirror" >"$cache/$1.log" 2>&1 ||
			{ tail "$cache/$1.log" >&2; exit 1; }
		printf %s "$2" >"$cache/$1/.complete"
	fi
	root=$work/$1
	cp -a "$cache/$1" "$root"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
}

# The packages are the version under test, and a later one for the upgrade. They are built, unless PACKAGES=FOLDER has
# them.
packages() {
	if [ -n "${PACKAGES:-}" ]; then cp "$PACKAGES"/*_amd64.deb "$work/"; else
		VERSION=1.0.0 OUT=$work GO="$GO" sh scripts/deb.sh amd64
		VERSION=1.0.1 OUT=$work GO="$GO" sh scripts/deb.sh amd64
	fi
	dpkg-deb -x "$work/bluez-esphome_1.0.0_amd64.deb" "$work/host"
	program=$work/host/usr/bin/bluez-esphome
}

apt() { in_root apt-get -q -y --no-install-recommends "$@"; }

# shellcheck source=scripts/install/chroot.sh
. scripts/install/chroot.sh
# shellcheck source=scripts/install/boot.sh
. scripts/install/boot.sh
# shellcheck source=scripts/install/container.sh
. scripts/install/container.sh
# shellcheck source=scripts/install/arm.sh
. scripts/install/arm.sh

packages
for stage in "$@"; do
	rm -f "$cache/$stage.passed"
	: >"$report"
	case $stage in
	chroot | container | arm | boot | controller) "stage_$stage" ;;
	*) echo "test-install.sh: no stage $stage" >&2; exit 2 ;;
	esac
	cp "$report" "$cache/$stage.passed"
	echo "$stage at $(git rev-parse --short=9 HEAD) on $(date -u +%Y-%m-%d)" >"$cache/$stage.at"
done
for stage in chroot container arm boot controller; do
	[ -e "$cache/$stage.passed" ] || { echo "docs/evidence/test-install.md is not written: $stage has not passed yet"; exit 0; }
done
{
	echo "# The package, installed"
	echo
	echo "Written by \`make test-install\`, on Debian 12 roots and in a machine that qemu emulates; not in CI. Each stage is of its last run:"
	cat "$cache/chroot.at" "$cache/container.at" "$cache/arm.at" "$cache/boot.at" "$cache/controller.at" | paste -s -d , | sed 's/,/, /g; s/$/./'
	for stage in chroot container arm boot controller; do
		# shellcheck disable=SC2016
		sed -e '/^$/d' -e '/^## /{1!s/^/```\n\n/; s/$/\n\n```/; 1s/^/\n/}' "$cache/$stage.passed"
		echo '```'
	done
} >docs/evidence/test-install.md
echo "wrote docs/evidence/test-install.md"
