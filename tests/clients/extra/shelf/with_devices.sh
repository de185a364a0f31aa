#!/bin/sh
# with_devices.sh BINARY CMD…: runs CMD with DBUS_SYSTEM_BUS_ADDRESS, on a bus on which other services may own names too, and the
# peripherals of peripherals.json behind two proxies; CONTROL is the folder of their sockets.
here=$(cd "$(dirname "$0")" && pwd)
binary=$1
shift
dir=$(mktemp -d)
cat >"$dir/bus.conf" <<C
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=$dir/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>
C
cat >"$dir/config.yaml" <<C
state_dir: $dir/state
proxies: [{address: "127.0.0.1:6073", name: hall}, {address: "127.0.0.1:6074", name: shed}]
C
export CONTROL="$dir/control" DBUS_SYSTEM_BUS_ADDRESS="unix:path=$dir/bus"
dbus-daemon --config-file="$dir/bus.conf" --nofork --nosyslog 2>"$dir/bus.log" &
bus=$!
"$binary" simulate --peripherals "$here/peripherals.json" --proxy hall=127.0.0.1:6073 --proxy shed=127.0.0.1:6074 --control "$CONTROL" >"$dir/simulate.log" 2>&1 &
air=$!
trap 'kill $daemon $air $bus 2>/dev/null; wait; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
for _ in $(seq 100); do [ -S "$dir/bus" ] && [ -S "$CONTROL/pack.sock" ] && break; sleep 0.1; done
"$binary" run --config "$dir/config.yaml" --bus "unix:path=$dir/bus" >"$dir/daemon.log" 2>&1 &
daemon=$!
for _ in $(seq 300); do
	[ "$("$binary" status --json --bus "unix:path=$dir/bus" 2>/dev/null | grep -c '"state": *"online"')" -eq 2 ] && break
	sleep 0.1
done
"$@"
