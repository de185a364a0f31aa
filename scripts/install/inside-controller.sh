# The stage controller of inside.sh, which sources this file: the package on a host that has a Bluetooth controller of its own.
# inside.sh sets the variables that are not set here.
# shellcheck shell=bash disable=SC2154
CONTROLLER=bluez-esphome-controller
device=C8:2B:96:10:00:01 # Pulse HR-1 of the simulated proxy
own=

# property OBJECT INTERFACE NAME prints a property of org.bluez.
property() { busctl --system get-property org.bluez "$1" "org.bluez.$2" "$3" | cut -d' ' -f2- | tr -d '"'; }
has() { is "$(property "$1" "$2" "$3")" "$4"; }
adapters() { busctl --system tree --list org.bluez | grep -x '/org/bluez/hci[0-9]*'; }
# ours prints the object of the adapter that is not the host's own.
ours() {
	for a in $(adapters); do
		[ "$(property "$a" Adapter1 Address)" = "$own" ] || echo "$a"
	done | grep .
}
powered() { has "$(ours)" Adapter1 Powered true; }
listed() { bluetoothctl list | grep "^Controller $1 "; }
mode() { stat -c %U:%G:%a /dev/vhci; }
another() { [ "$(main_pid $CONTROLLER)" != "$pid" ] && systemctl is-active $CONTROLLER; }
# of_unit COMMAND… runs the command as root in the unit's control group, which decides about devices.
# shellcheck disable=SC2016
of_unit() { sh -c 'echo $$ >"/sys/fs/cgroup$1/cgroup.procs" && shift && exec "$@"' sh "$(systemctl show -P ControlGroup $CONTROLLER)" "$@"; }

# own_controller starts another daemon, whose controller stands for the host's own, and the simulated proxy. Both start with the host.
own_controller() {
	ok "before: bluetooth.service is enabled" enabled bluetooth.service enabled
	dpkg-deb --fsys-tarfile /root/bluez-esphome_1.0.0_amd64.deb | tar -x -C /root ./usr/bin/bluez-esphome
	printf 'bus: none\nstate_dir: /root/state\nproxies: []\nhci: [{vhci: true}]\n' >/root/own.yaml
	chmod 600 /root/own.yaml
	printf '[Service]\nExecStart=/root/usr/bin/bluez-esphome run --config /root/own.yaml\n[Install]\nWantedBy=multi-user.target\n' \
		>/etc/systemd/system/own.service
	printf '[Service]\nExecStart=/root/usr/bin/bluez-esphome simulate --proxy kitchen=127.0.0.1:6053\n[Install]\nWantedBy=multi-user.target\n' \
		>/etc/systemd/system/sim.service
	systemctl -q enable --now own.service sim.service
	ok "before: there is a controller" until_ok [ -e /sys/class/bluetooth/hci0 ]
	ok "before: bluetoothd runs" until_ok systemctl is-active bluetooth.service
	ok "before: it owns org.bluez" until_ok owned bluetooth
	ok "before: it has the controller" until_ok has /org/bluez/hci0 Adapter1 Powered true
	own=$(property /org/bluez/hci0 Adapter1 Address)
	echo "$own" >/root/own
	mode >/root/mode
	daemon=$(main_pid bluetooth)
}

same_bluetoothd() { ok "bluetoothd is the same process" is "$(main_pid bluetooth)" "$daemon"; }

# beside installs the package, which must not change anything by itself, and chooses private.
beside() {
	ok "apt install" apt-get -q -y install /root/bluez-esphome_1.0.0_amd64.deb
	sed -n '/^bluez-esphome: nothing/,/ends it/s/^/      | /p' /tmp/out
	ok "it prints the choice" grep -q "bluez-esphome-setup take-over" /tmp/last
	ok "ours is not started" not systemctl is-active bluez-esphome
	for u in bluez-esphome bluez-esphome-private $CONTROLLER; do ok "$u is not enabled" enabled "$u.service" disabled; done
	same_bluetoothd
	ok "bluetoothd owns org.bluez" owned bluetooth
	ok "bluez-esphome-setup private" bluez-esphome-setup private
	ok "our adapter on the private bus" sh -c "DBUS_SYSTEM_BUS_ADDRESS=$PRIVATE bluetoothctl show | grep -q 'ESPHome proxies'"
	same_bluetoothd
}

# chosen chooses controller, uses the adapter, and restarts, kills and upgrades the unit.
chosen() {
	printf 'proxies:\n  - {name: kitchen, address: "127.0.0.1:6053"}\n' >"$config"
	ok "bluez-esphome-setup controller" bluez-esphome-setup controller
	ok "the private unit does not run" not systemctl is-active bluez-esphome-private
	ok "the controller's unit runs" systemctl is-active $CONTROLLER
	ok "it is enabled" enabled $CONTROLLER.service enabled
	confined $CONTROLLER
	exposed $CONTROLLER
	ok "/dev/vhci is its group's" is "$(mode)" root:bluez-esphome:660
	ok "another user may not open it" not su -s /bin/sh nobody -c ': <>/dev/vhci'
	ok "the unit has this device" of_unit sh -c ': <>/dev/vhci'
	ok "and no other, not even root in it" not of_unit sh -c ': </dev/vda'
	ok "our adapter is there and on" until_ok powered
	property "$(ours)" Adapter1 Address >/root/address
	used
	same_bluetoothd
	ok "bluez-esphome status says where to look" sh -c 'bluez-esphome status 2>&1 | grep -q "journalctl -u bluez-esphome-controller"'
	ok "systemctl reload" systemctl reload $CONTROLLER
	ok "it never failed until now" is "$(systemctl show -P NRestarts $CONTROLLER)" 0
	ok "systemctl restart" systemctl restart $CONTROLLER
	returned
	used
	pid=$(main_pid $CONTROLLER)
	ok "kill -KILL" kill -KILL "$pid"
	ok "systemd started another" until_ok another
	returned
	pid=$(main_pid $CONTROLLER)
	ok "upgrade" apt-get -q -y install /root/bluez-esphome_1.0.1_amd64.deb
	ok "the new one runs" until_ok another
	ok "it is 1.0.1" is "$("/proc/$(main_pid $CONTROLLER)/exe" version)" "bluez-esphome 1.0.1"
	returned
	same_bluetoothd
}

# both adds the drop-in of docs/controller.md, with which the unit has a private bus, too.
both() {
	local drop_in=/etc/systemd/system/$CONTROLLER.service.d
	mkdir $drop_in
	# shellcheck disable=SC2016
	sed -n '/^```ini$/,/^```$/{/^```/d;p}' /usr/share/doc/bluez-esphome/controller.md >"$drop_in/override.conf"
	systemctl daemon-reload
	ok "systemctl restart, with the guide's drop-in" systemctl restart $CONTROLLER
	confined $CONTROLLER
	returned
	ok "our adapter on the private bus, too" sh -c "DBUS_SYSTEM_BUS_ADDRESS=$PRIVATE bluetoothctl show | grep -q 'ESPHome proxies'"
	ok "status tells of the controller" sh -c "bluez-esphome status | grep '$(cat /root/address)'"
	rm -r $drop_in
	systemctl daemon-reload
	ok "systemctl restart, without it" systemctl restart $CONTROLLER
	returned
}

# returned checks that our adapter is there again with the address that it had.
returned() {
	ok "our adapter is there again" until_ok powered
	ok "its address is the same" has "$(ours)" Adapter1 Address "$(cat /root/address)"
}

# used finds a device through our adapter, connects and disconnects, all typed into bluetoothctl, and reads a value of it.
used() {
	local at address value
	at=$(ours)/dev_${device//:/_}
	address=$(cat /root/address)
	ok "bluetoothctl list: the host's own" until_ok listed "$own"
	ok "bluetoothctl list: ours" until_ok listed "$address"
	rm -f /root/typed
	mkfifo /root/typed
	stdbuf -oL bluetoothctl </root/typed >/root/bluetoothctl.log 2>&1 &
	exec 3>/root/typed
	ok "bluetoothctl knows our adapter" until_ok grep -q "Controller $address" /root/bluetoothctl.log
	echo "select $address" >&3
	echo "scan le" >&3
	ok "scan: a device of the simulated proxy" until_ok has "$at" Device1 Name "Pulse HR-1"
	echo "connect $device" >&3
	ok "connect: its services are there" until_ok has "$at" Device1 ServicesResolved true
	value=$(for c in $(busctl --system tree --list org.bluez | grep "^$at/service[^/]*/char[^/]*\$"); do
		has "$c" GattCharacteristic1 UUID 00002a29-0000-1000-8000-00805f9b34fb >/dev/null && echo "$c"
	done)
	ok "a value is read: Example Works" is "$(busctl --system call org.bluez "$value" org.bluez.GattCharacteristic1 ReadValue 'a{sv}' 0)" \
		"ay 13 69 120 97 109 112 108 101 32 87 111 114 107 115"
	echo "disconnect $device" >&3
	ok "disconnect" until_ok has "$at" Device1 Connected false
	echo "scan off" >&3
	echo "quit" >&3
	exec 3>&-
	wait $!
}

# back checks that everything came back with the reboot.
back() {
	own=$(cat /root/own)
	ok "after a reboot the module is loaded" sh -c "journalctl -b -u systemd-modules-load --no-pager | grep -q \"Inserted module 'hci_vhci'\""
	ok "the controller's unit runs" until_ok systemctl is-active $CONTROLLER
	ok "/dev/vhci is its group's" is "$(mode)" root:bluez-esphome:660
	ok "bluetoothd owns org.bluez" until_ok owned bluetooth
	returned
	used
	ok "it never failed" is "$(systemctl show -P NRestarts $CONTROLLER)" 0
	daemon=$(main_pid bluetooth)
}

# nothing_left checks that nothing is left of what bluez-esphome-setup controller did.
nothing_left() {
	ok "the controller's unit does not run" not systemctl is-active $CONTROLLER
	ok "nor is it enabled" enabled $CONTROLLER.service disabled
	ok "/dev/vhci is root's again" is "$(mode)" "$(cat /root/mode)"
	ok "no udev rule and no module to load" not grep -rls 'vhci' /etc/udev/rules.d /etc/modules-load.d
	ok "bluetoothd has the host's own adapter alone" until_ok not ours
}

# changed goes from controller to each other arrangement.
changed() {
	ok "bluez-esphome-setup private" bluez-esphome-setup private
	nothing_left
	ok "the private unit runs" systemctl is-active bluez-esphome-private
	ok "bluez-esphome-setup controller" bluez-esphome-setup controller
	returned
	ok "bluez-esphome-setup give-back" bluez-esphome-setup give-back
	nothing_left
	same_bluetoothd
	ok "nothing of ours is enabled" is "$(find /etc/systemd/system -lname '*bluez-esphome*')" ""
	ok "bluez-esphome-setup controller" bluez-esphome-setup controller
	returned
	ok "bluez-esphome-setup take-over" bluez-esphome-setup take-over
	ok "bluetoothd is stopped" not systemctl is-active bluetooth
	ok "ours owns org.bluez" owned
	ok "/dev/vhci is root's again" is "$(mode)" "$(cat /root/mode)"
	ok "bluez-esphome-setup controller" bluez-esphome-setup controller
	ok "bluetoothd owns org.bluez" until_ok owned bluetooth
	returned
	ok "apt remove" apt-get -q -y remove bluez-esphome
	ok "bluetoothd owns org.bluez" until_ok owned bluetooth
	ok "bluetooth.service is enabled" enabled bluetooth.service enabled
	ok "/dev/vhci is root's again" is "$(mode)" "$(cat /root/mode)"
	ok "no udev rule and no module to load" not grep -rls 'vhci' /etc/udev/rules.d /etc/modules-load.d
	ok "bluetoothd has the host's own adapter alone" until_ok not ours
	ok "apt purge" apt-get -q -y purge bluez-esphome
	ok "the user is gone" not id bluez-esphome
}

# without checks a host that has no controller of its own, first without the module hci_vhci.
without() {
	echo
	echo "Without a controller of its own"
	systemctl -q disable --now own.service
	ok "before: there is no controller" until_ok [ ! -e /sys/class/bluetooth/hci0 ]
	ok "apt install" apt-get -q -y install /root/bluez-esphome_1.0.1_amd64.deb
	ok "it was started" owned
	module=$(modinfo -n hci_vhci)
	mv "$module" /root/hci_vhci.ko
	ok "rmmod hci_vhci" rmmod hci_vhci
	ok "bluez-esphome-setup controller without the module: refused" not bluez-esphome-setup controller
	ok "it says why" grep -q "this kernel has no module hci_vhci" /tmp/last
	ok "nothing changed" owned
	mv /root/hci_vhci.ko "$module"
	printf 'proxies:\n  - {name: kitchen, address: "127.0.0.1:6053"}\n' >"$config"
	ok "bluez-esphome-setup controller" bluez-esphome-setup controller
	ok "bluetoothd owns org.bluez" until_ok owned bluetooth
	own=none
	ok "our adapter is there and on" until_ok powered
	ok "apt purge" apt-get -q -y purge bluez-esphome
	ok "there is no controller" until_ok [ ! -e /sys/class/bluetooth/hci0 ]
	ok "bluetooth.service is enabled" enabled bluetooth.service enabled
}
