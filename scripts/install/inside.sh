#!/bin/bash
# inside.sh STAGE runs in the machine of boot.sh, once in each of its two boots, and prints the checks that passed. STAGE is boot, for the
# package on a host without a controller, or controller (inside-controller.sh).
set -u
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
PRIVATE=unix:path=/run/bluez-esphome/bus
failed=0
ok() {
	what=$1
	shift
	[ ! -e /tmp/out ] || mv /tmp/out /tmp/last
	if "$@" >/tmp/out 2>&1; then echo "ok    $what"; else
		failed=1
		echo "FAIL  $what: $*"
		tail -n 15 /tmp/out
		systemctl show -P MainPID -P ActiveState -P SubState bluez-esphome
		journalctl -u bluez-esphome -u bluez-esphome-private -u bluez-esphome-controller -u bluetooth -n 300 --no-pager -o short-monotonic | tail -n 25
	fi
}
not() { ! "$@"; }
is() { [ "$1" = "$2" ] || { echo "\"$1\" is not \"$2\""; return 1; }; }
# until_ok COMMAND…: the command must succeed within 150 s or more, since the machine is slow.
until_ok() {
	local end=$((SECONDS + 150))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 1
	done
}
owner() { busctl --system call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s org.bluez | cut -d' ' -f2; }
main_pid() { systemctl show -P MainPID "${1:-bluez-esphome}"; }
# shellcheck disable=SC2120
owned() { is "$(owner)" "$(main_pid "${1:-bluez-esphome}")"; }
restarted() { [ "$(main_pid)" != "$pid" ] && [ "$(main_pid)" != 0 ] && owned bluez-esphome; }
enabled() { is "$(systemctl is-enabled "$1")" "$2"; }
adapter() { busctl --system get-property org.bluez /org/bluez/hci0 org.bluez.Adapter1 "$1"; }
online() { bluez-esphome status | grep -q "^$1 .*online"; }
journal_has() { journalctl -u bluez-esphome --no-pager -o cat | grep -q "$1"; }
config=/etc/bluez-esphome/bluez-esphome.yaml
# confined UNIT checks the user and the capabilities of the unit's main process.
confined() {
	ok "it runs as bluez-esphome" is "$(stat -c %U "/proc/$(main_pid "$1")")" bluez-esphome
	ok "it has no capability" is "$(sed -n 's/^Cap\(Prm\|Eff\|Bnd\|Amb\):[[:space:]]*//p' "/proc/$(main_pid "$1")/status" | sort -u)" 0000000000000000
}
# exposed UNIT checks how much systemd-analyze says that the unit exposes.
exposed() {
	exposure=$(systemd-analyze security --no-pager "$1" | sed -n 's/.*exposure level for [^:]*: \([0-9.]*\).*/\1/p')
	ok "systemd-analyze security $1: $exposure, at most 2.0" awk "BEGIN{exit !(${exposure:-9} <= 2.0)}"
}

first() {
	ok "before: bluetooth.service is enabled" enabled bluetooth.service enabled
	ok "before: there is no controller" [ ! -e /sys/class/bluetooth ]
	ok "apt install" apt-get -q -y install /root/bluez-esphome_1.0.0_amd64.deb
	ok "it was enabled and started" systemctl is-active bluez-esphome
	ok "it owns org.bluez on the system bus" owned
	confined bluez-esphome
	ok "bluetooth.service is masked" enabled bluetooth.service masked
	ok "status" bluez-esphome status
	ok "bluetoothctl show" sh -c 'bluetoothctl show | grep -q "ESPHome proxies"'
	exposed bluez-esphome
	exposed bluez-esphome-private
}

reload() {
	# Two simulated proxies; the key of one is a credential.
	key=$(head -c 32 /dev/urandom | base64)
	systemd-run -q --unit=sim bluez-esphome simulate --proxy kitchen=127.0.0.1:6053 --proxy "garage=127.0.0.1:6054,psk=$key"
	printf 'proxies:\n  - {name: kitchen, address: "127.0.0.1:6053"}\n' >$config
	pid=$(main_pid)
	ok "systemctl reload" systemctl reload bluez-esphome
	ok "the proxy of the reload is online" until_ok online kitchen
	ok "the process is the same" is "$(main_pid)" "$pid"
	printf 'proxys: []\nlog: {level: loud}\n' >>$config
	ok "systemctl reload fails on a file with mistakes" not systemctl reload bluez-esphome
	ok "systemctl status lists them: line 3" sh -c "systemctl status -n 20 bluez-esphome | grep -q 'yaml:3: .*did you mean \"proxies\"'"
	ok "systemctl status lists them: line 4" sh -c "systemctl status -n 20 bluez-esphome | grep -q 'yaml:4: .*loud'"
	ok "the process is the same" is "$(main_pid)" "$pid"
	ok "the proxy is online" online kitchen
	install -m 600 /dev/stdin /etc/bluez-esphome/keys/garage <<<"$key"
	printf 'proxies:\n  - {name: garage, address: "127.0.0.1:6054", noise_psk_file: keys_garage}\n' >$config
	ok "a key that was not there at the start: check finds it" bluez-esphome check
	ok "a key that was not there at the start: reload says restart" not systemctl reload bluez-esphome
	ok "and why" journal_has "read when the unit starts"
	ok "systemctl restart" systemctl restart bluez-esphome
	ok "the proxy whose key is a credential is online" until_ok online garage
	ok "the daemon's user cannot read the key's file" not su -s /bin/sh bluez-esphome -c 'cat /etc/bluez-esphome/keys/garage'
	ok "systemctl reload with a credential" systemctl reload bluez-esphome
	ok "bluetoothctl finds a simulated device" sh -c 'bluetoothctl --timeout 20 scan le | grep -q "Pulse HR-1"'
	ok "an ordinary user may use it" su -s /bin/sh nobody -c 'bluez-esphome status'
}

killed() {
	pid=$(main_pid)
	ok "kill -KILL" kill -KILL "$pid"
	ok "systemd started another" until_ok restarted
	pid=$(main_pid)
	ok "kill -STOP" kill -STOP "$pid"
	ok "systemd started another" until_ok restarted
	ok "by the watchdog indeed" journal_has "[Ww]atchdog timeout"
}

upgrade() {
	ok "an alias is set" busctl --system set-property org.bluez /org/bluez/hci0 org.bluez.Adapter1 Alias s Upstairs
	adapter Address >/root/address
	pid=$(main_pid)
	ok "upgrade" apt-get -q -y install /root/bluez-esphome_1.0.1_amd64.deb
	ok "the new one runs" until_ok restarted
	ok "it is 1.0.1" is "$("/proc/$(main_pid)/exe" version)" "bluez-esphome 1.0.1"
	ok "the configuration stayed" grep -q keys_garage $config
	ok "the state stayed: alias" is "$(adapter Alias)" 's "Upstairs"'
	ok "the state stayed: address" is "$(adapter Address)" "$(cat /root/address)"
	pid=$(main_pid)
	ok "the same version again" apt-get -q -y --reinstall install /root/bluez-esphome_1.0.1_amd64.deb
	ok "it runs" until_ok restarted
}

rebooted() {
	ok "after a reboot it runs" until_ok systemctl is-active bluez-esphome
	ok "it owns org.bluez" owned
	ok "the alias stayed" is "$(adapter Alias)" 's "Upstairs"'
	ok "bluetooth.service is masked" enabled bluetooth.service masked
}

private() {
	printf 'proxies: []\n' >$config
	ok "bluez-esphome-setup private" bluez-esphome-setup private
	ok "bluetooth.service is enabled again" enabled bluetooth.service enabled
	ok "the private unit runs" systemctl is-active bluez-esphome-private
	ok "bluetoothctl on the private bus" sh -c "DBUS_SYSTEM_BUS_ADDRESS=$PRIVATE bluetoothctl show | grep -q Upstairs"
	ok "status finds it" bluez-esphome status
	useradd guest
	ok "another user may not use it" not su guest -c "bluez-esphome status --bus $PRIVATE"
	usermod -a -G bluez-esphome-bus guest
	ok "a member of the bus's group may" su guest -c "bluez-esphome status --bus $PRIVATE"
	ok "and cannot read the configuration" not su guest -c "cat $config"
	ok "nor own org.bluez" not su guest -c "DBUS_SYSTEM_BUS_ADDRESS=$PRIVATE busctl --system call org.freedesktop.DBus / org.freedesktop.DBus RequestName su org.bluez 0"
	ok "systemctl reload" systemctl reload bluez-esphome-private
	echo "{" >>$config
	ok "systemctl reload fails on a file with mistakes" not systemctl reload bluez-esphome-private
	printf 'proxies: []\n' >$config
	inode=$(stat -c %i /run/bluez-esphome)
	pid=$(main_pid bluez-esphome-private)
	ok "kill -KILL" kill -KILL "$pid"
	ok "systemd started another" until_ok sh -c "bluez-esphome status --bus $PRIVATE"
	ok "stop" systemctl stop bluez-esphome-private
	ok "its dbus-daemon is gone" not pgrep -u bluez-esphome
	ok "start" systemctl start bluez-esphome-private
	ok "the socket's folder is still the same" is "$(stat -c %i /run/bluez-esphome)" "$inode"
}

remove() {
	ok "bluez-esphome-setup take-over" bluez-esphome-setup take-over
	ok "it owns org.bluez" owned
	ok "apt remove" apt-get -q -y remove bluez-esphome
	ok "nothing of ours runs" not pgrep -x bluez-esphome
	ok "bluetooth.service is enabled" enabled bluetooth.service enabled
	ok "org.bluez activates bluetoothd" is "$(readlink /etc/systemd/system/dbus-org.bluez.service)" /lib/systemd/system/bluetooth.service
	ok "/run/bluez-esphome is gone" [ ! -e /run/bluez-esphome ]
	ok "apt purge" apt-get -q -y purge bluez-esphome
	ok "the user is gone" not id bluez-esphome
}

# shellcheck source=scripts/install/inside-controller.sh
. /root/inside-controller.sh

if [ ! -e /root/rebooted ]; then
	echo "$(systemctl --version | head -n 1), kernel $(uname -r), bluetoothd $(bluetoothctl --version | sed 's/.*: //')"
	case $1 in
	boot)
		first
		reload
		killed
		upgrade
		;;
	controller)
		own_controller
		beside
		chosen
		both
		;;
	esac
	touch /root/rebooted
	[ $failed -eq 0 ] || touch /root/failed
	systemctl --no-block reboot
	exit
fi
case $1 in
boot)
	rebooted
	private
	remove
	;;
controller)
	back
	changed
	without
	;;
esac
[ $failed -eq 0 ] && [ ! -e /root/failed ] && echo "all passed"
systemctl --no-block poweroff
