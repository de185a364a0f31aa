#!/bin/sh
# bluez_tools.sh: bt-adapter, bt-device and bt-agent of bluez-tools. "bt-device -i" is left out: it crashes where a device has no
# Icon, with bluetoothd too.
status=0
expect() {
	what=$1 want=$2
	shift 2
	if out=$("$@" 2>&1) && echo "$out" | grep -q -- "$want"; then
		echo "ok $what"
	else
		echo "not ok $what: $(echo "$out" | tail -1)"
		status=1
	fi
}
lock=E1:5D:0A:10:00:03
bt-agent -c NoInputNoOutput >/dev/null 2>&1 &
agent=$!
expect "one adapter" '^1$' sh -c 'bt-adapter -l | grep -c "("'
expect power 'Powered: 1' bt-adapter -i
timeout 6 bt-adapter -d >/dev/null 2>&1
expect list 'Pulse HR-1 (C8:2B:96:10:00:01)' bt-device -l
expect "connect (pairs)" Done bt-device -c $lock
expect trusted 'Trusted: 0 -> 1' bt-device --set $lock Trusted 1
expect disconnect Done bt-device -d $lock
expect remove Done bt-device -r $lock
expect alias '-> mine' bt-adapter --set Alias mine
expect "power off" '1 -> 0' bt-adapter --set Powered 0
expect "power on" '0 -> 1' bt-adapter --set Powered 1
kill $agent
exit $status
