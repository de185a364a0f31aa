"""A proxy whose power can be cut (world.Relay), for tests/matter/world.py: reads "cut-at-connect" and "restore" from standard input."""
import sys

import world

relay = world.Relay(("127.0.0.1", 6063), ("127.0.0.1", 6053))
print("@ ready", flush=True)
for line in sys.stdin:
    if line.strip() == "cut-at-connect":
        relay.cut_at_connect = True
    elif line.strip() == "restore":
        relay.restore()
