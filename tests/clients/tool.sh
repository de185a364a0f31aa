#!/bin/sh
# tool.sh busctl|gdbus: the steps of the client matrix by one-shot calls. Each call is a client of its own that leaves the bus at
# once, so whoever runs this keeps a discovery and a notification going, as a second program does.
set -eu
tool=$1
bluez=org.bluez
hci=/org/bluez/hci0
dev=$hci/dev_C8_2B_96_10_00_01
greeting=b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50
counter=b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50

# call PATH INTERFACE METHOD [SIGNATURE ARGS…]: the arguments as busctl takes them.
call() {
	if [ "$tool" = busctl ]; then
		busctl --system call $bluez "$@"
		return
	fi
	path=$1 method=$2.$3
	shift 3
	[ $# -eq 0 ] || shift
	gdbus call --system --dest $bluez --object-path "$path" --method "$method" "$@"
}

# get PATH INTERFACE PROPERTY
get() {
	if [ "$tool" = busctl ]; then
		busctl --system get-property $bluez "$@"
		return
	fi
	gdbus call --system --dest $bluez --object-path "$1" --method org.freedesktop.DBus.Properties.Get "$2" "$3"
}

# tree: the paths of all objects, one a line.
tree() {
	if [ "$tool" = busctl ]; then
		busctl --system tree --list $bluez
		return
	fi
	gdbus introspect --system --dest $bluez --object-path / --recurse --only-properties | sed -n 's/^ *node \(.*\) {$/\1/p'
}

# until COMMAND…: tries for 20 s.
until_true() {
	n=0
	until "$@"; do
		n=$((n + 1))
		[ $n -lt 200 ] || { echo "not within 20 s: $*" >&2; exit 1; }
		sleep 0.1
	done
}

step() { echo "STEP $1"; }
is() { get "$1" "$2" "$3" | grep -q "$4"; }
seen() { tree | grep -qx "$dev"; }
char() {
	for path in $(tree | grep -E "^$dev/service[0-9a-f]{4}/char[0-9a-f]{4}\$"); do
		if is "$path" org.bluez.GattCharacteristic1 UUID "$1"; then
			echo "$path"
			return
		fi
	done
	echo "no characteristic $1" >&2
	exit 1
}

is $hci org.bluez.Adapter1 Powered true
step power
call $hci org.bluez.Adapter1 StartDiscovery >/dev/null
until_true seen
step discover
call $dev org.bluez.Device1 Connect >/dev/null
is $dev org.bluez.Device1 Connected true
step connect
until_true is $dev org.bluez.Device1 ServicesResolved true
value=$(char $greeting)
count=$(char $counter)
step list

if [ "$tool" = busctl ]; then
	busctl --system call $bluez "$value" org.bluez.GattCharacteristic1 ReadValue 'a{sv}' 0 | grep -q '^ay [1-9]'
	step read
	busctl --system call $bluez "$value" org.bluez.GattCharacteristic1 WriteValue 'aya{sv}' 3 104 111 33 1 type s request
	busctl --system call $bluez "$value" org.bluez.GattCharacteristic1 ReadValue 'a{sv}' 0 | grep -qx 'ay 3 104 111 33'
	step write
	call "$count" org.bluez.GattCharacteristic1 StartNotify
	monitor='busctl --system monitor --json=short'
	pattern='PropertiesChanged.*GattCharacteristic1.*"Value"'
else
	call "$value" org.bluez.GattCharacteristic1 ReadValue '' '{}' | grep -q '0x'
	step read
	call "$value" org.bluez.GattCharacteristic1 WriteValue '' "[byte 0x68,0x6f,0x21]" "{'type':<'request'>}" >/dev/null
	call "$value" org.bluez.GattCharacteristic1 ReadValue '' '{}' | grep -qF '[byte 0x68, 0x6f, 0x21]'
	step write
	call "$count" org.bluez.GattCharacteristic1 StartNotify >/dev/null
	monitor='gdbus monitor --system --dest org.bluez'
	pattern='PropertiesChanged.*GattCharacteristic1.*Value'
fi
out=$(mktemp)
$monitor >"$out" 2>/dev/null &
pid=$!
trap 'kill $pid 2>/dev/null || true; rm -f "$out"' EXIT
three() { [ "$(grep -c "$pattern" "$out")" -ge 3 ]; }
until_true three
step notify
call $dev org.bluez.Device1 Disconnect >/dev/null
until_true is $dev org.bluez.Device1 Connected false
step disconnect
