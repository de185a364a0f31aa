#!/bin/sh
# killed.sh CMD…: CMD connects, subscribes to the counter and prints "hold" with each value; it is killed, and then its
# sessions must be gone, while the link stays, as with bluetoothd.
prop() { busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" get-property org.bluez "$@" 2>/dev/null | cut -d' ' -f2; }
device=/org/bluez/hci0/dev_C8_2B_96_10_00_01
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$@" >"$log" 2>&1 &
pid=$!
for _ in $(seq 150); do
	[ "$(grep -c hold "$log")" -ge 2 ] && break
	sleep 0.2
done
held=$(grep -c hold "$log")
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
if [ "$held" -lt 2 ]; then
	echo "not ok killed: it never held: $(tail -1 "$log")"
	exit 1
fi
sleep 0.5
discovering=$(prop /org/bluez/hci0 org.bluez.Adapter1 Discovering)
connected=$(prop $device org.bluez.Device1 Connected)
notifying=0
for c in $(busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" tree --list org.bluez | grep "$device/service.*/char....$"); do
	for p in Notifying NotifyAcquired; do
		[ "$(prop "$c" org.bluez.GattCharacteristic1 $p)" = true ] && notifying=$((notifying + 1))
	done
done
if [ "$discovering $notifying $connected" != "false 0 true" ]; then
	echo "not ok killed: Discovering=$discovering, $notifying subscriptions, Connected=$connected"
	exit 1
fi
echo "ok killed: its sessions are gone, the link stays"
