"""What a program on any bleak from 0.20 on does. Prints "ok STEP" or "not ok STEP: WHY"."""
import asyncio
import sys

from bleak import BleakClient, BleakScanner

PULSE, LOCK, BEACON = "C8:2B:96:10:00:01", "E1:5D:0A:10:00:03", "F3:6A:48:10:00:04"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
PIN = "10cc0003-37a1-4d2c-8f10-5b6a79881122"
failed = 0


def need(cond, what):
    if not cond:
        raise Exception(what)


async def step(what, f):
    global failed
    try:
        r = await asyncio.wait_for(f(), 60)
        print("ok", what, flush=True)
        return r
    except Exception as e:
        failed += 1
        print("not ok %s: %r" % (what, e), flush=True)


async def discover():
    found = await BleakScanner.discover(timeout=5, return_adv=True)
    need({PULSE, LOCK, BEACON} <= set(found), list(found))
    need(found[PULSE][1].local_name == "Pulse HR-1", found[PULSE])
    return found[PULSE][0]


async def by_service():
    d = await BleakScanner.find_device_by_filter(lambda d, a: d.address == PULSE, timeout=10,
                                                 service_uuids=["0000180d-0000-1000-8000-00805f9b34fb"])
    need(d is not None, "not found")


async def passive():
    from bleak.assigned_numbers import AdvertisementDataType
    from bleak.backends.bluezdbus.advertisement_monitor import OrPattern
    from bleak.backends.bluezdbus.scanner import BlueZScannerArgs
    seen = asyncio.Event()
    args = BlueZScannerArgs(or_patterns=[OrPattern(0, AdvertisementDataType.FLAGS, b"\x06")])
    async with BleakScanner(lambda d, a: seen.set() if d.address == PULSE else None, scanning_mode="passive", bluez=args):
        await asyncio.wait_for(seen.wait(), 10)


async def counter(client, count):
    values, enough = [], asyncio.Event()

    def callback(_, data):
        values.append(int.from_bytes(data, "big"))
        if len(values) >= count:
            enough.set()

    await client.start_notify(VENDOR % 4, callback)
    await asyncio.wait_for(enough.wait(), 20)
    await client.stop_notify(VENDOR % 4)
    need({b - a for a, b in zip(values, values[1:])} == {1}, "values %r" % values)


async def main():
    if sys.argv[1:2] == ["hold"]:  # hold [ADDRESS UUID]
        address, uuid = sys.argv[2:4] or (PULSE, VENDOR % 4)
        d = await BleakScanner.find_device_by_address(address, 10)
        async with BleakClient(d) as c, BleakScanner():
            await c.start_notify(uuid, lambda _, v: print("hold", v.hex(), flush=True))
            await asyncio.sleep(600)
    await step("discover", discover)
    await step("discover by service", by_service)
    await step("passive scan", passive)
    device = await BleakScanner.find_device_by_address(PULSE, 10)
    gone = asyncio.Event()
    client = BleakClient(device, disconnected_callback=lambda _: gone.set())

    async def connect():
        await client.connect()
        need(client.is_connected, "not connected")

    async def services():
        n = sum(len(s.characteristics) for s in client.services)
        need(n == 16, "%d characteristics" % n)
        need(client.mtu_size in (23, 247), client.mtu_size)  # 23 until asked for, in old versions

    async def read():
        need(len(await client.read_gatt_char(VENDOR % 6)) > 100, "short")

    async def descriptor():
        d = client.services.get_characteristic(VENDOR % 2).descriptors[0]
        need(bytes(await client.read_gatt_descriptor(d.handle)) == b"Greeting", "value")

    async def write():
        await client.write_gatt_char(VENDOR % 2, b"from bleak", response=True)
        need(bytes(await client.read_gatt_char(VENDOR % 2)) == b"from bleak", "value")

    async def command():
        await client.write_gatt_char(VENDOR % 3, b"x", response=False)

    async def disconnect():
        await client.disconnect()
        await asyncio.wait_for(gone.wait(), 5)

    async def pair():
        async with BleakClient(LOCK) as lock:
            await lock.pair()
            need(bytes(await lock.read_gatt_char(PIN)) == b"1234", "value")

    async def reconnect():
        async with BleakClient(device) as again:
            need(bytes(await again.read_gatt_char(VENDOR % 2)) == b"from bleak", "value")

    async def unpair():
        async with BleakClient(LOCK) as lock:
            await lock.unpair()

    await step("connect", connect)
    await step("list", services)
    await step("read", read)
    await step("descriptor read", descriptor)
    await step("write with response", write)
    await step("write without response", command)
    await step("notify", lambda: counter(client, 4))
    await step("disconnect", disconnect)
    await step("pair", pair)
    await step("reconnect", reconnect)
    await step("remove (unpair)", unpair)


asyncio.run(main())
sys.exit(1 if failed else 0)
