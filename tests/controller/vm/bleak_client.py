"""bleak_client.py CONTROL: bleak on bluetoothd, whose adapter is a controller of ours: says what it found, read and was notified of."""

import asyncio
import json
import sys

from bleak import BleakClient, BleakScanner

ADDRESS = "00:AA:01:01:00:01"
READ, NOTIFIED = "a5a50101-1000-4000-8000-00805f9b0001", "a5a50105-1000-4000-8000-00805f9b0001"


async def main():
    device = await BleakScanner.find_device_by_address(ADDRESS, timeout=60)
    print("FOUND", device.name, flush=True)
    client = BleakClient(device, timeout=60)
    await client.connect()
    print("READ", bytes(await client.read_gatt_char(READ)).decode(), flush=True)
    got = asyncio.Queue()
    await client.start_notify(NOTIFIED, lambda _, value: got.put_nowait(bytes(value)))
    reader, writer = await asyncio.open_unix_connection(sys.argv[1])
    writer.write(json.dumps({"op": "notify", "handle": 37, "value": "aabbcc", "indicate": False}).encode() + b"\n")
    await reader.readline()
    writer.close()
    print("GOT", (await asyncio.wait_for(got.get(), 60)).hex(), flush=True)
    try:
        await client.disconnect()
    except EOFError:
        pass  # bleak closes its bus once it is told that the device is disconnected, perhaps before the answer comes
    assert not client.is_connected
    print("DONE", flush=True)


asyncio.run(main())
