"""A program with unmodified bleak that runs until SIGTERM: `scan`, or `notify ADDRESS`. It prints COUNT N WHAT, FAILED REASON for
what outages explain, and LOST WHAT for what nothing does."""
import asyncio
import os
import signal
import sys

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError


async def scan():
    while True:
        seen = set()
        async with BleakScanner(lambda device, data: seen.add(device.address)):
            await asyncio.sleep(25)
        print("COUNT 1 scans with bleak")
        if len(seen) < 250:
            print("LOST a scan of 25 s found only %d devices" % len(seen))
        await asyncio.sleep(10)


class Numbers:
    """Checks that what one connection notifies comes without a gap."""

    def __init__(self):
        self.last = None

    def take(self, _, data):
        n = int.from_bytes(data, "little")
        if self.last is not None and n != self.last + 1:
            print("LOST notifications: %d after %d" % (n, self.last))
        self.last = n
        print("COUNT 1 notifications received by bleak")


async def notify(address):
    while True:
        try:
            device = await BleakScanner.find_device_by_address(address, timeout=30)
            if device is None:
                print("FAILED device is not heard")
                continue
            gone = asyncio.Event()
            numbers = Numbers()
            async with BleakClient(device, lambda _: gone.set(), timeout=30) as client:
                await client.start_notify(os.environ["NUMBERS"], numbers.take)
                before = numbers.last
                try:
                    await asyncio.wait_for(gone.wait(), 60)
                except asyncio.TimeoutError:
                    if numbers.last == before:
                        print("LOST no notification within 60 s on a link that is up")
            print("COUNT 1 connections of bleak")
        except (BleakError, asyncio.TimeoutError, EOFError) as e:
            print("FAILED %s: %s" % (type(e).__name__, e))
            await asyncio.sleep(2)


async def main():
    work = scan() if sys.argv[1] == "scan" else notify(sys.argv[2])
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass


asyncio.run(main())
