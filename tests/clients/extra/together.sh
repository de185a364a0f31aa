#!/bin/sh
# together.sh CMD…: CMD on a bus where another client (the command in HOLD, which prints "hold" with each value) discovers,
# is connected to another device, subscribed there, and goes on.
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
if [ "$after" -le "$before" ]; then
	echo "not ok together: the first client got nothing while the second worked"
	exit 1
fi
echo "ok together: the first client got its values while the second worked"
exit $status
