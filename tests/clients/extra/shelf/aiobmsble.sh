#!/bin/sh
# aiobmsble.sh PYTHON: the program finds the pack, says what it is, and reads it.
here=$(cd "$(dirname "$0")" && pwd)
"$1" "$here/pack.py" &
pack=$!
out=$(timeout 60 "$1" -m aiobmsble 2>&1 </dev/null)
kill $pack
echo "$out" | sed 's/^/# /'
step() { # step NAME PATTERN
	if echo "$out" | grep -q "$2"; then echo "ok $1"; else echo "not ok $1: no $2"; fi
}
step identify "Found matching BMS type: .*[Jj]iabaida\|Found matching BMS type: .*JBD\|Found matching BMS type: .*jbd"
step "device info" "'hw_version': 'JBD-SP04S020'"
step voltage "'voltage': 13.24"
step current "'current': -2.5"
step level "'battery_level': 84"
step cells "'cell_voltages': \[3.31, 3.311, 3.309, 3.31\]"
step temperatures "TempSensor(21.5.*TempSensor(22.0"
