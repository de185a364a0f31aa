# The arm stage of test-install.sh, which sources this file: the packages of the other architectures. Their programs run
# under qemu's user emulation, armhf's on the processor of the first Raspberry Pi. test-install.sh sets the variables
# that are not set here.
# shellcheck shell=sh disable=SC2154

contents() { dpkg-deb -c "$work/bluez-esphome_1.0.0_$1.deb" | awk '{print $1, $2, $6}'; }
is_valid() { "$@" check --config configs/bluez-esphome.yaml; }

stage_arm() {
	say "## The other architectures"
	ok "prepare: make deb DEB_ARCHES='arm64 armhf'" env VERSION=1.0.0 OUT="$work" GO="$GO" sh scripts/deb.sh arm64 armhf
	for arch in arm64 armhf; do
		case $arch in
		arm64) emulator="qemu-aarch64-static" ;;
		armhf) emulator="qemu-arm-static -cpu arm1176" ;;
		esac
		ok "$arch: the same files as in amd64" is "$(contents $arch)" "$(contents amd64)"
		dpkg-deb -x "$work/bluez-esphome_1.0.0_$arch.deb" "$work/$arch"
		modules=$("$GO" version -m "$work/$arch/usr/bin/bluez-esphome" | awk '$1 == "dep" {print $2, $3}' | sort)
		ok "$arch: the copyright file names its modules" \
			is "$(sed -n 's/^  \([^ ]*\.[^ ]* v[^:]*\): .*/\1/p' "$work/$arch/usr/share/doc/bluez-esphome/copyright" | sort)" "$modules"
		if ! command -v "${emulator%% *}" >/dev/null 2>&1; then
			say "skip  $arch: ${emulator%% *} is missing (Debian: apt install qemu-user-static)"
			continue
		fi
		# The word splitting is meant.
		# shellcheck disable=SC2086
		{
			ok "$arch: it runs" is "$($emulator "$work/$arch/usr/bin/bluez-esphome" version)" "bluez-esphome 1.0.0"
			ok "$arch: check" is_valid $emulator "$work/$arch/usr/bin/bluez-esphome"
			ok "$arch: demo --exec bluez-esphome status" $emulator "$work/$arch/usr/bin/bluez-esphome" demo --exec "$program status"
		}
	done
	say
}
