#!/bin/sh
# upower.sh: UPower shows the battery of a mouse, follows it, and forgets it with the link.
mouse=E1:5D:0A:20:00:03
upowerd=/usr/libexec/upowerd
[ -x $upowerd ] || upowerd=/usr/lib/upower/upowerd
$upowerd >/dev/null 2>&1 &
daemon=$!
trap 'kill $daemon' EXIT
device=/org/freedesktop/UPower/devices/mouse_dev_E1_5D_0A_20_00_03
# expect STEP PATTERN: the device shows it, at last.
expect() {
	for _ in $(seq 200); do
		shown=$(upower -i $device 2>&1)
		if echo "$shown" | grep -q "$2"; then
			echo "ok $1"
			return
		fi
		sleep 0.2
	done
	echo "not ok $1: $(upower -e 2>&1 | tr '\n' ' '): $shown" | tr '\n' ' '
	echo
}
bluetoothctl --timeout 5 scan le >/dev/null 2>&1
bluetoothctl connect $mouse >/dev/null 2>&1
expect percentage "percentage: *67%"
expect model "model: *Mouse"
expect kind "^ *mouse"
busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call org.bluez "$(busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" tree --list org.bluez | grep "E1_5D.*char....$" | head -1)" \
	org.bluez.GattCharacteristic1 StartNotify >/dev/null 2>&1
python3 - <<P
import json, os, socket
s = socket.socket(socket.AF_UNIX)
s.connect(os.path.join(os.environ["CONTROL"], "mouse.sock"))
s.sendall(b'{"op":"notify","handle":3,"value":"22"}\n')
s.recv(100)
P
expect "a change" "percentage: *34%"
bluetoothctl disconnect $mouse >/dev/null 2>&1
for _ in $(seq 100); do
	if ! upower -e | grep -q E1_5D; then break; fi
	sleep 0.2
done
if upower -e | grep -q E1_5D; then echo "not ok gone: it is still listed"; else echo "ok gone"; fi
