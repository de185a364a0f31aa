"""The steps of the client matrix on bleak. The argument is how to scan and to notify: active-acquire, active-start or passive."""
import asyncio
import sys

from bleak import BleakClient, BleakScanner
from bleak.args.bluez import BlueZScannerArgs, OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.backends.bluezdbus.manager import get_global_bluez_manager

PULSE = "C8:2B:96:10:00:01"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
SERVICE, GREETING, COUNTER = VENDOR % 1, VENDOR % 2, VENDOR % 4

mode = sys.argv[1]


def step(name, good):
    if not good:
        sys.exit("step %s failed" % name)
    print("STEP", name, flush=True)


async def discover():
    args = {}
    if mode == "passive":
        args = {"scanning_mode": "passive",
                "bluez": BlueZScannerArgs(or_patterns=[OrPattern(0, AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA, b"\xff\xff\x01")])}
    return await BleakScanner.find_device_by_filter(lambda d, a: d.address == PULSE and a.manufacturer_data == {0xFFFF: b"\x01\x01"}, timeout=180, **args)


async def notify(client):
    values, enough = [], asyncio.Event()

    def callback(_, data):
        values.append(int.from_bytes(data, "big"))
        if len(values) == 3:
            enough.set()

    await client.start_notify(COUNTER, callback, bluez={"use_start_notify": mode == "active-start"})
    await asyncio.wait_for(enough.wait(), 180)
    await client.stop_notify(COUNTER)
    return values[2] == values[0] + 2


async def main():
    manager = await get_global_bluez_manager()
    step("power", manager.get_default_adapter() == "/org/bluez/hci0")
    device = await discover()
    step("discover", device is not None)
    gone = asyncio.Event()
    async with BleakClient(device, disconnected_callback=lambda _: gone.set()) as client:
        step("connect", client.is_connected)
        service = client.services.get_service(SERVICE)
        step("list", service is not None and GREETING in [c.uuid for c in service.characteristics])
        step("read", len(await client.read_gatt_char(GREETING)) > 0)
        await client.write_gatt_char(GREETING, b"from bleak", response=True)
        step("write", bytes(await client.read_gatt_char(GREETING)) == b"from bleak")
        step("notify", await notify(client))
    await asyncio.wait_for(gone.wait(), 180)
    step("disconnect", not client.is_connected)


asyncio.run(main())
