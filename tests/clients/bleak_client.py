"""What a program on bleak does, with checks: discover, connect, list, read, write, notify.

Runs on the bus of DBUS_SYSTEM_BUS_ADDRESS against the demo's devices; exits 0 if all checks hold.
"""
import asyncio
import sys

from bleak import BleakClient, BleakScanner

PULSE = "C8:2B:96:10:00:01"
BEACON = "F3:6A:48:10:00:04"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
SERVICE, GREETING, COMMAND, COUNTER, ALERT, LONG = (VENDOR % n for n in range(1, 7))
HEART_RATE = "00002a37-0000-1000-8000-00805f9b34fb"
BATTERY = "00002a19-0000-1000-8000-00805f9b34fb"

passed = 0


def check(what, got, want):
    global passed
    if got != want:
        print("FAILED %s: got %r, want %r" % (what, got, want))
        sys.exit(1)
    passed += 1


async def discover():
    found = {}
    for _ in range(40):  # one is enough but where the machine is busy
        found = await BleakScanner.discover(timeout=5, return_adv=True)
        if PULSE in found and found[PULSE][1].local_name and BEACON in found:
            break
    check("the sensor is heard", PULSE in found, True)
    device, adv = found[PULSE]
    check("name", device.name, "Pulse HR-1")
    check("local name", adv.local_name, "Pulse HR-1")
    check("service UUIDs", [u[4:8] for u in adv.service_uuids], ["180d", "180f"])
    check("manufacturer data", adv.manufacturer_data, {0xFFFF: b"\x01\x01"})
    check("TX power", adv.tx_power, 0)
    # The nearer proxy hears it at -52 dBm, give or take 3.
    check("RSSI of the nearer proxy: %d" % adv.rssi, -60 < adv.rssi < -45, True)
    beacon = found.get(BEACON)
    check("a beacon without a name", beacon is not None and 0x0499 in beacon[1].manufacturer_data, True)


async def filtered():
    device = await BleakScanner.find_device_by_filter(lambda d, a: d.address == PULSE, timeout=180,
                                                      service_uuids=["0000180d-0000-1000-8000-00805f9b34fb"])
    check("found by service", device is not None, True)
    return device


async def notifications(client, uuid, count, use_start_notify):
    values, enough = [], asyncio.Event()

    def callback(_, data):
        values.append(bytes(data))
        if len(values) >= count:
            enough.set()

    await client.start_notify(uuid, callback, bluez={"use_start_notify": use_start_notify})
    await asyncio.wait_for(enough.wait(), 180)
    await client.stop_notify(uuid)
    return values


async def main():
    await discover()
    device = await filtered()
    gone = asyncio.Event()
    async with BleakClient(device, disconnected_callback=lambda _: gone.set()) as client:
        check("connected", client.is_connected, True)
        service = client.services.get_service(SERVICE)
        check("the vendor service", service is not None, True)
        check("its characteristics", sorted(c.uuid for c in service.characteristics), [GREETING, COMMAND, COUNTER, ALERT, LONG])
        check("properties", sorted(client.services.get_characteristic(GREETING).properties), ["read", "write"])
        check("descriptors", [d.uuid[4:8] for d in client.services.get_characteristic(GREETING).descriptors], ["2901"])
        check("MTU", client.services.get_characteristic(GREETING).max_write_without_response_size, 247 - 3)

        check("read", bytes(await client.read_gatt_char(GREETING)), b"hello")
        await client.write_gatt_char(GREETING, b"with response", response=True)
        check("what was written", bytes(await client.read_gatt_char(GREETING)), b"with response")
        await client.write_gatt_char(COMMAND, b"without response", response=False)
        long = bytes(await client.read_gatt_char(LONG))
        check("a long value, %d bytes" % len(long), (len(long) > 100, long[:4]), (True, b"\x00\x01\x02\x03"))
        descriptor = client.services.get_characteristic(GREETING).descriptors[0]
        check("descriptor", bytes(await client.read_gatt_descriptor(descriptor)), b"Greeting")

        for use_start_notify in (False, True):  # AcquireNotify, StartNotify
            how = "StartNotify" if use_start_notify else "AcquireNotify"
            values = await notifications(client, COUNTER, 4, use_start_notify)
            numbers = [int.from_bytes(v, "big") for v in values]
            steps = {b - a for a, b in zip(numbers, numbers[1:])}
            check("%s: a counter without gaps, %r" % (how, numbers), steps, {1})
            values = await notifications(client, HEART_RATE, 3, use_start_notify)
            check("%s: heart rates %r" % (how, values), all(v[0] == 0 and 50 < v[1] < 90 for v in values), True)
        try:
            await client.read_gatt_char(COMMAND)
            check("reading what cannot be read fails", True, False)
        except Exception as e:  # which class is bleak's affair
            check("reading what cannot be read: %s" % e, "NotPermitted" in str(e) or "not permitted" in str(e).lower(), True)
    check("disconnected", client.is_connected, False)
    await asyncio.wait_for(gone.wait(), 180)

    # Again at once: the slot is free, the services come from the cache.
    async with BleakClient(PULSE) as client:
        check("read after reconnecting", bytes(await client.read_gatt_char(GREETING)), b"with response")
    print("%d checks passed" % passed)


asyncio.run(main())
