"""Follows a counter with bleak until a line comes on standard input: ADDRESS UUID acquire|start.

Prints READY with the first value, at the end "GOT n" if every value of one octet was the one before it plus 1, and
otherwise, as for a lost connection, FAILED and why.
"""
import asyncio
import sys

from bleak import BleakClient, BleakScanner


async def main(address, uuid, mode):
    device = await BleakScanner.find_device_by_address(address, timeout=20)
    if device is None:
        sys.exit("FAILED: %s is not heard" % address)
    got, wrong = [], []

    def disconnected(_):
        wrong.append("disconnected after %d values" % len(got))

    def callback(_, data):
        if got and data[-1] != (got[-1] + 1) % 256:
            wrong.append("%d after %d" % (data[-1], got[-1]))
        got.append(data[-1])
        if len(got) == 1:
            print("READY", flush=True)

    client = BleakClient(device, disconnected_callback=disconnected, timeout=20)
    await client.connect()
    await client.start_notify(uuid, callback, bluez={"use_start_notify": mode == "start"})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    text = "FAILED: " + "; ".join(wrong[:5]) if wrong else "GOT %d" % len(got)
    print(text, flush=True)
    await client.disconnect()


asyncio.run(main(*sys.argv[1:]))
