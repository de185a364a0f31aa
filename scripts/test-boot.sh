#!/bin/bash
# test-boot.sh: runs inside the machine that test-install.sh boots; prints what passed.
set -u
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
failed=0
ok() {
	what=$1
	shift
	if "$@" >/tmp/out 2>&1; then echo "ok    $what"; else
		failed=1
		echo "FAIL  $what: $*"
		tail -n 15 /tmp/out
		journalctl -u bluez-esphome -u bluez-esphome-private -n 15 --no-pager -o cat
	fi
}
not() { ! "$@"; }
is() { [ "$1" = "$2" ] || { echo "\"$1\" is not \"$2\""; return 1; }; }
# until_ok COMMAND…: within 150 s and more; the machine is slow.
until_ok() {
	for _ in $(seq 150); do
		if "$@"; then return 0; fi
		sleep 1
	done
	return 1
}
owner() { busctl --system call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s org.bluez | cut -d' ' -f2; }
main_pid() { systemctl show -P MainPID bluez-esphome; }
owned() { is "$(owner)" "$(main_pid)"; }
restarted() { [ "$(main_pid)" != "$pid" ] && [ "$(main_pid)" != 0 ] && owned; }

echo "$(systemctl --version | head -n 1), kernel $(uname -r), $(bluetoothctl --version)"
ok "bluetooth.service is enabled before" is "$(systemctl is-enabled bluetooth.service)" enabled
ok "apt install ./bluez-esphome_1.0.0_amd64.deb" apt-get -q -y install /root/bluez-esphome_1.0.0_amd64.deb
ok "it was enabled and started" systemctl is-active bluez-esphome
ok "it owns org.bluez on the system bus" owned
ok "it runs as bluez-esphome" is "$(stat -c %U "/proc/$(main_pid)")" bluez-esphome
ok "bluetooth.service is masked" is "$(systemctl is-enabled bluetooth.service)" masked
ok "status, as root" bluez-esphome status
ok "bluetoothctl show" sh -c 'bluetoothctl show | grep -q "ESPHome proxies"'

# Two simulated proxies; the key of one is a credential.
key=$(head -c 32 /dev/urandom | base64)
systemd-run -q --unit=sim bluez-esphome simulate --proxy kitchen=127.0.0.1:6053 --proxy "garage=127.0.0.1:6054,psk=$key"
printf '%s\n' "$key" >/etc/bluez-esphome/keys/garage
chmod 600 /etc/bluez-esphome/keys/garage
cat >/etc/bluez-esphome/bluez-esphome.yaml <<'END'
proxies:
  - {name: kitchen, address: "127.0.0.1:6053"}
END
pid=$(main_pid)
ok "systemctl reload" systemctl reload bluez-esphome
ok "the proxy of the reload is online" until_ok sh -c 'bluez-esphome status | grep -q "kitchen .*online"'
ok "the process is the same" is "$(main_pid)" "$pid"
echo "proxys: []" >>/etc/bluez-esphome/bluez-esphome.yaml
ok "systemctl reload, of a file with mistakes" systemctl reload bluez-esphome
ok "and the journal says why" until_ok sh -c 'journalctl -u bluez-esphome --no-pager -o cat | grep -q "did you mean \"proxies\""'
ok "and the process is the same" is "$(main_pid)" "$pid"
cat >/etc/bluez-esphome/bluez-esphome.yaml <<'END'
proxies:
  - {name: kitchen, address: "127.0.0.1:6053"}
  - {name: garage, address: "127.0.0.1:6054", noise_psk_file: keys_garage}
END
ok "systemctl restart, with a key as credential" systemctl restart bluez-esphome
ok "the encrypted proxy is online" until_ok sh -c 'bluez-esphome status | grep -q "garage .*online"'
ok "systemctl reload with credentials" systemctl reload bluez-esphome
ok "bluetoothctl finds a simulated device" sh -c 'bluetoothctl --timeout 20 scan le | grep -q "Pulse HR-1"'
ok "an ordinary user may use it" su -s /bin/sh nobody -c 'bluez-esphome status'

pid=$(main_pid)
ok "kill -KILL" kill -KILL "$pid"
ok "it is back" until_ok restarted
pid=$(main_pid)
kill -STOP "$pid"
ok "one that hangs is ended by the watchdog and started again" until_ok restarted
ok "by the watchdog indeed" sh -c 'journalctl -u bluez-esphome --no-pager -o cat | grep -q "[Ww]atchdog timeout"'

pid=$(main_pid)
ok "upgrade" apt-get -q -y install /root/bluez-esphome_1.0.1_amd64.deb
ok "the new one runs" until_ok restarted
ok "the configuration stayed" grep -q keys_garage /etc/bluez-esphome/bluez-esphome.yaml

ok "bluez-esphome-setup private" bluez-esphome-setup private
ok "bluetooth.service is enabled again" is "$(systemctl is-enabled bluetooth.service)" enabled
ok "the private unit runs" systemctl is-active bluez-esphome-private
ok "bluetoothctl on the private bus" sh -c 'DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bluez-esphome/bus bluetoothctl show | grep -q "ESPHome proxies"'
useradd guest
ok "another user may not use it" not su guest -c 'DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bluez-esphome/bus bluez-esphome status'
usermod -a -G bluez-esphome guest
ok "a member of the group may" su guest -c 'DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bluez-esphome/bus bluez-esphome status'
ok "reload of the private unit" systemctl reload bluez-esphome-private
for u in bluez-esphome bluez-esphome-private; do systemd-analyze security --no-pager $u | tail -n 1; done

ok "take-over again" bluez-esphome-setup take-over
ok "remove" apt-get -q -y remove bluez-esphome
ok "nothing of ours runs" not pgrep -x bluez-esphome
ok "bluetooth.service is enabled" is "$(systemctl is-enabled bluetooth.service)" enabled
ok "org.bluez activates bluetoothd" is "$(readlink /etc/systemd/system/dbus-org.bluez.service)" /lib/systemd/system/bluetooth.service
ok "purge" apt-get -q -y purge bluez-esphome
ok "the user is gone" not id bluez-esphome
[ $failed -eq 0 ] && echo "all passed"
