"""How Home Assistant uses a local adapter: bluetooth-adapters, habluetooth's scanner (passive by AdvertisementMonitor1, then
active), bleak-retry-connector. Prints "ok STEP" or "not ok STEP: WHY"."""
import asyncio
import sys

from bleak import BleakClient, BleakScanner
from bleak_retry_connector import (BleakClientWithServiceCache, BleakSlotManager, close_stale_connections_by_address,
                                   establish_connection, get_device)
from bluetooth_adapters import get_adapters
from habluetooth import BluetoothManager, BluetoothScanningMode, HaScanner, set_manager

PULSE, LOCK = "C8:2B:96:10:00:01", "E1:5D:0A:10:00:03"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
PIN = "10cc0003-37a1-4d2c-8f10-5b6a79881122"
failed, seen = 0, {}


class Manager(BluetoothManager):
    def _discover_service_info(self, info):
        seen.setdefault(info.address, []).append(info)


def need(cond, what):
    if not cond:
        raise Exception(what)


async def step(what, f, *args):
    global failed
    try:
        r = await asyncio.wait_for(f(*args), 60)
        print("ok", what, flush=True)
        return r
    except Exception as e:
        failed += 1
        print("not ok %s: %r" % (what, e), flush=True)


async def power():
    a = get_adapters()
    await a.refresh()
    need(list(a.adapters) == ["hci0"] and a.default_adapter == "hci0", a.adapters)
    need(a.adapters["hci0"]["passive_scan"] is True, a.adapters)
    m = Manager(a, BleakSlotManager())
    set_manager(m)
    await m.async_setup()
    return m, a.adapters["hci0"]["address"]


async def scan(m, address, mode):
    seen.clear()
    s = HaScanner(mode, "hci0", address)
    s.async_setup()
    cancel = m.async_register_scanner(s, connection_slots=5)
    await s.async_start()
    need(s.scanning and s.current_mode == mode, "mode %s" % s.current_mode)
    for _ in range(100):
        await asyncio.sleep(0.1)
        if PULSE in seen and LOCK in seen:
            break
    need(PULSE in seen and LOCK in seen, list(seen))
    if mode == BluetoothScanningMode.ACTIVE:
        await step("connect while scanning", connect, m)
    await s.async_stop()
    cancel()


async def connect(m):
    device = m.async_ble_device_from_address(PULSE, True)
    c = await establish_connection(BleakClientWithServiceCache, device, "pulse", max_attempts=3)
    need(bytes(await c.read_gatt_char(VENDOR % 6))[:2] == b"\x00\x01", "value")
    await c.disconnect()


async def retry():
    d = await BleakScanner.find_device_by_address(PULSE, 10)
    c = await establish_connection(BleakClientWithServiceCache, d, "pulse", use_services_cache=True, ble_device_callback=lambda: d)
    got = []
    await c.start_notify(VENDOR % 4, lambda _, v: got.append(bytes(v)))
    for _ in range(100):
        await asyncio.sleep(0.1)
        if len(got) >= 3:
            break
    need(len(got) >= 3, got)
    await c.write_gatt_char(VENDOR % 2, b"retry", response=True)
    await c.write_gatt_char(VENDOR % 3, b"x", response=False)
    await c.disconnect()
    need(await get_device(PULSE) is not None, "get_device")
    c = await establish_connection(BleakClient, d, "pulse")
    await close_stale_connections_by_address(PULSE)
    await asyncio.sleep(0.5)
    need(not c.is_connected, "still connected")


async def pair():
    d = await BleakScanner.find_device_by_address(LOCK, 10)
    c = await establish_connection(BleakClient, d, "lock", pair=True)
    need(bytes(await c.read_gatt_char(PIN)) == b"1234", "value")
    await c.disconnect()


async def main():
    m, address = await step("power", power)
    await step("passive scan", scan, m, address, BluetoothScanningMode.PASSIVE)
    await step("active scan", scan, m, address, BluetoothScanningMode.ACTIVE)
    m.async_stop()
    await step("bleak-retry-connector", retry)
    await step("pair", pair)


asyncio.run(main())
sys.exit(1 if failed else 0)
