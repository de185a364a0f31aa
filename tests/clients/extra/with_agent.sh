#!/bin/sh
# with_agent.sh CMD…: CMD while bluetoothctl is the default agent, as a desktop has one: an operation that needs encryption pairs.
# A program that cannot pair by itself (btleplug) depends on that with bluetoothd as well.
fifo=$(mktemp -u)
mkfifo "$fifo"
bluetoothctl <"$fifo" >/dev/null 2>&1 &
agent=$!
exec 9>"$fifo"
rm -f "$fifo"
echo default-agent >&9
sleep 1
"$@"
status=$?
echo quit >&9
exec 9>&-
wait $agent
exit $status
