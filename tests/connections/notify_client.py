"""Counts notifications with bleak: ADDRESS UUID COUNT acquire|start. Values are numbers of 4 octets, little-endian, from 0.

Prints READY once subscribed, and OK, or what was wrong, once COUNT values came or 60 s passed.
"""
import asyncio
import sys

from bleak import BleakClient, BleakScanner


async def main(address, uuid, count, mode):
    device = await BleakScanner.find_device_by_address(address, timeout=20)
    if device is None:
        sys.exit("FAILED: %s is not heard" % address)
    got, done = [], asyncio.Event()

    def callback(_, data):
        got.append(int.from_bytes(data, "little"))
        if len(got) == count:
            done.set()

    async with BleakClient(device, timeout=20) as client:
        await client.start_notify(uuid, callback, bluez={"use_start_notify": mode == "start"})
        print("READY", flush=True)
        try:
            await asyncio.wait_for(done.wait(), 60)
        except asyncio.TimeoutError:
            pass
        await client.stop_notify(uuid)
    if got != list(range(count)):
        wrong = next((i for i, n in enumerate(got) if n != i), len(got))
        sys.exit("FAILED: %d of %d values, the first that is wrong is number %d" % (len(got), count, wrong))
    print("OK", flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
