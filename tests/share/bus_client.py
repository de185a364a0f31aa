"""A program on bleak that keeps a device while other hosts come and go: it prints a line once it is connected, reads on and on,
and ends when its input does.
"""
import asyncio
import sys

from bleak import BleakClient, BleakScanner

THERMO = "A4:C1:38:10:00:02"
TEMPERATURE, HUMIDITY = (f"00002a{n}-0000-1000-8000-00805f9b34fb" for n in ("6e", "6f"))


async def main():
    device = await BleakScanner.find_device_by_address(THERMO, timeout=180)
    gone, values = asyncio.Event(), 0

    def count(_, data):
        nonlocal values
        values += 1

    async with BleakClient(device, disconnected_callback=lambda _: gone.set()) as client:
        await client.start_notify(TEMPERATURE, count)
        print("connected", flush=True)
        end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        reads = 0
        while not end.done():
            if bytes(await client.read_gatt_char(HUMIDITY)) != bytes.fromhex("7a12"):
                sys.exit("FAILED: another value was read")
            reads += 1
            await asyncio.sleep(0.1)
        if gone.is_set() or values == 0:
            sys.exit(f"FAILED: gone {gone.is_set()}, {values} notifications")
        await client.stop_notify(TEMPERATURE)
    print(f"{reads} reads, {values} notifications")


asyncio.run(main())
