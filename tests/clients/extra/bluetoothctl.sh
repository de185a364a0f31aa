#!/bin/sh
# bluetoothctl.sh: the commands that are rarely typed. What must appear is checked step by step.
out=$(mktemp)
trap 'rm -f "$out"' EXIT
cd "$(mktemp -d)" || exit 1 # bluetoothctl expands "remove *" like a shell
while read -r line; do
	case $line in
	sleep*) $line ;;
	*)
		echo "$line"
		sleep 0.4
		;;
	esac
done <<'C' | bluetoothctl 2>&1 | sed 's/\x1b\[[0-9;]*[a-zA-Z]//g; s/\x01//g; s/\x02//g; s/\r//g' >"$out"
list
select 00:00:00:00:00:00
show
power on
default-agent
menu scan
uuids 0x180d
rssi -90
transport le
back
scan on
sleep 3
menu scan
clear
back
sleep 2
scan off
menu monitor
set-rssi-threshold -90 -80
set-rssi-timeout 5 5
add-or-pattern 0 1 06
sleep 2
remove-pattern all
back
connect C8:2B:96:10:00:01
sleep 3
menu gatt
select-attribute b1e50003-6d5e-4c1b-9e3a-1f0c2d3e4f50
acquire-write
write "0x01 0x02"
release-write
select-attribute b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50
acquire-notify
sleep 2
release-notify
notify on
sleep 2
notify off
select-attribute b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50
write "0x41 0x42" 0 request
read
sleep 1
back
set-alias pulsey
trust C8:2B:96:10:00:01
untrust C8:2B:96:10:00:01
block C8:2B:96:10:00:01
sleep 1
unblock C8:2B:96:10:00:01
connect C8:2B:96:10:00:01
sleep 2
disconnect
sleep 1
scan on
sleep 2
pair E1:5D:0A:10:00:03
sleep 2
cancel-pairing E1:5D:0A:10:00:03
discoverable on
discoverable-timeout 60
system-alias myhost
reset-alias
scan off
remove E1:5D:0A:10:00:03
remove *
sleep 1
power off
power on
agent off
sleep 1
quit
C
status=0
expect() {
	if grep -q "$2" "$out"; then
		echo "ok $1"
	else
		echo "not ok $1: no \"$2\""
		status=1
	fi
}
expect list 'Controller .* \[default\]'
expect "select of another" 'Controller 00:00:00:00:00:00 not available'
expect "default-agent" 'Default agent request successful'
expect "scan filters" 'SetDiscoveryFilter success'
expect discover 'NEW.* Device C8:2B:96:10:00:01 Pulse HR-1'
expect "clear of the filter" 'NEW.* Device .* Garden Thermo'
expect monitor 'Advertisement monitor 0 activated'
expect connect 'Connection successful'
expect acquire-write 'AcquireWrite success: fd [0-9]* MTU 247'
expect release-write 'WriteAcquired: no'
expect acquire-notify 'AcquireNotify success: fd [0-9]* MTU 247'
expect "acquired notifications" 'Notification:'
expect release-notify 'NotifyAcquired: no'
expect notify 'Notify started'
expect "notify off" 'Notify stopped'
expect "write and read" '  41 42 '
expect set-alias 'Alias: pulsey'
expect trust 'trust succeeded'
expect "block ends the link" 'Blocked: yes'
expect unblock 'unblock succeeded'
expect disconnect 'Successful disconnected\|Disconnection successful'
expect pair 'Pairing successful'
expect cancel-pairing 'Failed to cancel pairing: org.bluez.Error.DoesNotExist'
expect discoverable 'Changing discoverable on succeeded'
expect system-alias 'Alias: myhost'
expect remove 'DEL.* Device E1:5D:0A:10:00:03'
expect "remove *" 'DEL.* Device C8:2B:96:10:00:01 pulsey'
expect "power off" 'PowerState: off$'
expect "power on" 'PowerState: on$'
expect "agent off" 'Agent unregistered'
exit $status
