#!/bin/sh
# together.sh CMD NAME…: one client after another begins while CMD discovers, connects and subscribes ("hold") and goes on.
# $HOLD is the first one's command, the rest is the second one's.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
sh -c "$HOLD" >"$log" 2>&1 &
pid=$!
for _ in $(seq 150); do
	grep -q hold "$log" && break
	sleep 0.2
done
before=$(grep -c hold "$log")
"$@"
status=$?
after=$(grep -c hold "$log")
kill $pid 2>/dev/null
wait $pid 2>/dev/null
# The second client's Disconnect ends the first one's link, as with bluetoothd; until then it must have got values.
if [ "$after" -le "$before" ]; then
	echo "not ok together: the first client got nothing while the second worked"
	exit 1
fi
echo "ok together: the first client got its values while the second worked"
exit $status
