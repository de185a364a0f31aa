# golden.sh runs in the machine. It plays the scenarios that the file scenarios names, each with a new bluetoothd,
# daemon and peripheral, and puts the recordings into recorded. bluetoothd has the options with which it was recorded:
# without the plugin for policies of administrators, and, for advertisement monitors, with experimental interfaces.
export HOME=/tmp DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket
mkdir -p /tmp/control /host/recorded
# The programs are copied to memory: a wait for the host is idle time, which the clock of the machine skips.
cp -r bluez-esphome peripherals.json scenarios driver /tmp
cd /tmp || exit
cat >/tmp/config.yaml <<END
bus: none
state_dir: /tmp/state
proxies: [{address: "127.0.0.1:6053", name: kitchen}]
hci: [{vhci: true}]
END
chmod 600 /tmp/config.yaml
# say TEXT prints TEXT and the time: the machine is slow, and its output is the only sign of life.
say() { echo "$(cut -d' ' -f1 /proc/uptime) $*"; }
# adapter PROPERTY VALUE sets a property to its value at the beginning of the recording, which an earlier scenario may
# have changed.
adapter() {
	dbus-send --system --print-reply --dest=org.bluez /org/bluez/hci0 org.freedesktop.DBus.Properties.Set \
		string:org.bluez.Adapter1 "string:$1" "variant:boolean:$2" >/dev/null
}
powered() {
	dbus-send --system --print-reply --dest=org.bluez /org/bluez/hci0 org.freedesktop.DBus.Properties.Get \
		string:org.bluez.Adapter1 string:Powered 2>/dev/null | grep -q true
}
while read -r name connectable pairable; do
	say "$name"
	rm -rf /var/lib/bluetooth /tmp/state
	mkdir -p /var/lib/bluetooth
	./bluez-esphome simulate --peripherals peripherals.json --proxy kitchen=127.0.0.1:6053 --control /tmp/control >/tmp/sim.log 2>&1 &
	sim=$!
	until grep -q "listens on" /tmp/sim.log; do sleep 0.2; done
	./bluez-esphome run --config /tmp/config.yaml >/tmp/daemon.log 2>&1 &
	daemon=$!
	until grep -q "Proxy is online" /tmp/daemon.log && [ -e /sys/class/bluetooth/hci0 ]; do sleep 0.2; done
	experimental=
	case $name in advertisement_monitor*) experimental=-E ;; esac
	bluetoothd -n -P admin $experimental >/tmp/bluetoothd.log 2>&1 &
	bluetoothd=$!
	until powered; do sleep 0.2; done
	adapter Connectable "$connectable"
	adapter Pairable "$pairable"
	sleep 1
	say "ready"
	timeout 600 python3 driver/golden.py record --only "$name" --out /host/recorded --peripheral peripherals.json --settle 2 \
		--control main=/tmp/control/main.sock --control beacon=/tmp/control/beacon.sock </dev/null
	say "played"
	kill -0 $bluetoothd || { say "bluetoothd ended by itself:"; tail -n 5 /tmp/bluetoothd.log; dmesg | tail -n 5; }
	kill -0 $daemon || { say "the daemon ended by itself:"; tail -n 5 /tmp/daemon.log; dmesg | tail -n 5; }
	kill $bluetoothd
	wait $bluetoothd 2>/dev/null
	kill $daemon $sim
	wait $daemon $sim 2>/dev/null
	while [ -e /sys/class/bluetooth/hci0 ]; do sleep 0.2; done
done <scenarios
