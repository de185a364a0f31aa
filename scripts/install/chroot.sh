# The chroot stage of test-install.sh, which sources this file: the package in roots where no service runs.
# test-install.sh sets the variables that are not set here.
# shellcheck shell=sh disable=SC2154
# root_with NAME PACKAGES…: makes a root in which no service may be started, with /proc if it can be mounted.
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
	ok "the first line of --version is BlueZ's" is "$(in_root bluez-esphome --version | head -n 1)" 5.87
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
		usr/lib/systemd/system/bluez-esphome.service var/lib/misc/bluez-esphome.bluetooth var/lib/misc/bluez-esphome.removed \
		run/bluez-esphome; do
		ok "/$f is gone" [ ! -e "$root/$f" ]
	done
	ok "the user is gone" not in_root id bluez-esphome
}

stage_chroot() {
	say "## A Debian 12 without BlueZ, without systemd"
	root_with plain
	ok "dpkg -i without what it depends on: left for apt to finish" not in_root dpkg -i /root/bluez-esphome_1.0.0_amd64.deb
	ok "apt --fix-broken install" apt --fix-broken install
	installed
	gone
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
	ok "apt purge bluez" apt purge bluez
	ok "apt install, after the removal" apt install /root/bluez-esphome_1.0.1_amd64.deb
	ok "ours is enabled again" is "$(link multi-user.target.wants/bluez-esphome.service)" $OURS
	ok "the changed configuration is still there" grep -q "changed by hand" "$root/etc/bluez-esphome/bluez-esphome.yaml"
	ok "bluez-esphome-setup give-back" in_root bluez-esphome-setup give-back
	ok "the same version once more" apt install --reinstall /root/bluez-esphome_1.0.1_amd64.deb
	ok "what was given back stays so" is "$(link multi-user.target.wants/bluez-esphome.service)" ""
	rm "$root/etc/bluez-esphome/bluez-esphome.yaml"
	ok "the same version once more, the configuration deleted" apt install --reinstall /root/bluez-esphome_1.0.1_amd64.deb
	ok "it stays deleted" [ ! -e "$root/etc/bluez-esphome/bluez-esphome.yaml" ]
	ok "apt remove" apt remove bluez-esphome
	ok "apt install, after the removal" apt install /root/bluez-esphome_1.0.1_amd64.deb
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
	ok "bluez-esphome-setup controller" in_root bluez-esphome-setup controller
	ok "the private unit is not enabled" [ ! -L "$root/etc/systemd/system/multi-user.target.wants/bluez-esphome-private.service" ]
	ok "the controller's unit is enabled" [ -L "$root/etc/systemd/system/multi-user.target.wants/bluez-esphome-controller.service" ]
	ok "udev gives /dev/vhci to its group" grep -q 'GROUP="bluez-esphome"' "$root/etc/udev/rules.d/60-bluez-esphome.rules"
	ok "the module is loaded at the next start" grep -qx hci_vhci "$root/etc/modules-load.d/bluez-esphome.conf"
	ok "org.bluez activates bluetoothd" is "$(link dbus-org.bluez.service)" $THEIRS
	ok "bluez-esphome-setup take-over" in_root bluez-esphome-setup take-over
	ok "the controller's unit is not enabled" [ ! -L "$root/etc/systemd/system/multi-user.target.wants/bluez-esphome-controller.service" ]
	ok "its udev rule is gone" [ ! -e "$root/etc/udev/rules.d/60-bluez-esphome.rules" ]
	ok "the module is not loaded any more" [ ! -e "$root/etc/modules-load.d/bluez-esphome.conf" ]
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
