"""What another host does with a shared proxy: first ESPHome's own client library, then the Bluetooth stack of Home Assistant.

Arguments: HOST PORT KEY REALNAME REALMAC FREE, which is the number of free slots. Exits 0 if all went as it should.
"""
import asyncio
import sys

import habluetooth
from aioesphomeapi import APIClient
from aioesphomeapi.core import (
    BluetoothGATTAPIError,
    EncryptionPlaintextAPIError,
    InvalidEncryptionKeyAPIError,
    RequiresEncryptionAPIError,
)
from aioesphomeapi.model import BluetoothScannerMode, BluetoothScannerState
from bleak_esphome import connect_scanner
from bluetooth_adapters import BluetoothAdapters

PULSE, LOCK, THERMO = "C8:2B:96:10:00:01", "E1:5D:0A:10:00:03", "A4:C1:38:10:00:02"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
SERVICE, GREETING, COMMAND, COUNTER, ALERT, LONG = (VENDOR % n for n in range(1, 7))
CODE = "10cc0003-37a1-4d2c-8f10-5b6a79881122"
OTHER_KEY = "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXkgISE="
passed = 0


def check(what, got, want):
    global passed
    if got != want:
        raise SystemExit(f"FAILED {what}: got {got!r}, want {want!r}")
    passed += 1
    print(f"ok {what}", flush=True)


async def within(awaitable, what, seconds=180):
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise SystemExit(f"FAILED {what}: nothing within {seconds} s") from None


def number(address):
    return int(address.replace(":", ""), 16)


def handle_of(services, uuid):
    return next(c for s in services for c in s.characteristics if c.uuid == uuid)


async def gatt_error(awaitable):
    try:
        await awaitable
    except BluetoothGATTAPIError as e:
        return e.error.error
    return 0


async def refused(host, port, key, error):
    cli = APIClient(host, port, None, noise_psk=key, client_info="wrong")
    try:
        await cli.connect(login=True)
    except error:
        check(f"refused: {error.__name__}", True, True)
        return
    raise SystemExit("FAILED wrong key: connected")


async def library(host, port, key, real_name, real_mac, most):
    cli = APIClient(host, port, None, noise_psk=key, client_info="library")
    await cli.connect(login=True)
    info = await cli.device_info()
    check("name", info.name, real_name + "-shared")
    check("MAC differs", info.mac_address == real_mac, False)
    check("MAC is locally administered", int(info.mac_address[:2], 16) & 3, 2)
    check("MAC of the radio", len(info.bluetooth_mac_address), 17)
    flags = info.bluetooth_proxy_feature_flags_compat(cli.api_version)
    check("flags", flags, 0xFF)
    check("entities", await cli.list_entities_services(), ([], []))

    slots, scanner, links = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    heard, raw = {a: asyncio.Event() for a in (PULSE, LOCK)}, {}

    def on_raw(batch):
        for adv in batch.advertisements:
            for a, e in heard.items():
                if adv.address == number(a):
                    raw[a] = bytes(adv.data)
                    e.set()

    cli.subscribe_bluetooth_connections_free(lambda *a: slots.put_nowait(a))
    free, limit, allocated = await within(slots.get(), "slots")
    check("slots: one is a program's on D-Bus", (free, limit, allocated), (most, most + 1, [number(THERMO)]))
    cli.subscribe_bluetooth_scanner_state(scanner.put_nowait)
    cli.subscribe_bluetooth_le_raw_advertisements(on_raw)
    await within(scanner.get(), "scanner state")
    for e in heard.values():
        await within(e.wait(), "advertisements")
    check("raw advertisement", raw[PULSE][:3], bytes.fromhex("020106"))
    for mode in (BluetoothScannerMode.PASSIVE, BluetoothScannerMode.ACTIVE):
        cli.bluetooth_scanner_set_mode(mode)
        while (state := await within(scanner.get(), f"scanner {mode}")).mode != mode or state.state != BluetoothScannerState.RUNNING:
            pass
        check("scanner", state.mode, mode)

    address = number(PULSE)
    release = await cli.bluetooth_device_connect(
        address, lambda *a: links.put_nowait(a), feature_flags=flags, address_type=1, timeout=180)
    check("connected", await within(links.get(), "link"), (True, 247, 0))
    while (now := await within(slots.get(), "slots"))[0] != most - 1:
        pass
    check("slot taken", (now[:2], sorted(now[2])), ((most - 1, most + 1), sorted([number(THERMO), address])))
    services = (await within(cli.bluetooth_gatt_get_services(address), "services")).services
    check("services", len(services), 6)
    greeting, counter = handle_of(services, GREETING), handle_of(services, COUNTER)
    check("read", bytes(await cli.bluetooth_gatt_read(address, greeting.handle)), b"hello")
    check("long read", len(await cli.bluetooth_gatt_read(address, handle_of(services, LONG).handle)), 256)
    await cli.bluetooth_gatt_write(address, greeting.handle, b"from a host", True)
    check("written", bytes(await cli.bluetooth_gatt_read(address, greeting.handle)), b"from a host")
    await cli.bluetooth_gatt_write(address, handle_of(services, COMMAND).handle, b"quick", False)
    check("read of a write-only value", await gatt_error(cli.bluetooth_gatt_read(address, handle_of(services, COMMAND).handle)), 2)
    descriptor = greeting.descriptors[0].handle
    check("descriptor", bytes(await cli.bluetooth_gatt_read_descriptor(address, descriptor)), b"Greeting")
    await cli.bluetooth_gatt_write_descriptor(address, descriptor, b"Hi")
    check("descriptor written", bytes(await cli.bluetooth_gatt_read_descriptor(address, descriptor)), b"Hi")
    values = asyncio.Queue()
    stop, _ = await cli.bluetooth_gatt_start_notify(address, counter.handle, lambda h, v: values.put_nowait(bytes(v)))
    cccd = next(d for d in counter.descriptors if d.uuid[4:8] == "2902")
    await cli.bluetooth_gatt_write_descriptor(address, cccd.handle, b"\x01\x00")
    for _ in range(3):
        check("notification", len(await within(values.get(), "notification")), 4)
    await stop()
    check("connection parameters", await cli.bluetooth_device_set_connection_params(address, 24, 40, 0, 400), None)
    check("cache cleared", (await cli.bluetooth_device_clear_cache(address)).success, True)
    await cli.bluetooth_device_disconnect(address)
    check("disconnected", (await within(links.get(), "end of link"))[0], False)
    release()
    while address in (await within(slots.get(), "slots"))[2]:
        pass

    # A link that a program on D-Bus holds is shared: both may read.
    thermo = number(THERMO)
    release = await cli.bluetooth_device_connect(
        thermo, lambda *a: links.put_nowait(a), feature_flags=flags, address_type=0, timeout=180)
    check("joined the link of another", (await within(links.get(), "shared link"))[0], True)
    services = (await within(cli.bluetooth_gatt_get_services(thermo), "services")).services
    humidity = handle_of(services, "00002a6f-0000-1000-8000-00805f9b34fb")
    check("read beside another", bytes(await cli.bluetooth_gatt_read(thermo, humidity.handle)), bytes.fromhex("7a12"))
    await cli.bluetooth_device_disconnect(thermo)
    check("left the link of another", (await within(links.get(), "end of link"))[0], False)
    release()

    # Pairing.
    lock = number(LOCK)
    release = await cli.bluetooth_device_connect(
        lock, lambda *a: links.put_nowait(a), feature_flags=flags, address_type=1, timeout=180)
    check("connected to the lock", (await within(links.get(), "link"))[0], True)
    services = (await within(cli.bluetooth_gatt_get_services(lock), "services")).services
    code = handle_of(services, CODE)
    check("unpaired read", await gatt_error(cli.bluetooth_gatt_read(lock, code.handle)) in (5, 15), True)
    check("paired", (await cli.bluetooth_device_pair(lock)).paired, True)
    check("paired read", bytes(await cli.bluetooth_gatt_read(lock, code.handle)), b"1234")
    check("unpaired", (await cli.bluetooth_device_unpair(lock)).success, True)
    await cli.bluetooth_device_disconnect(lock)
    check("disconnected from the lock", (await within(links.get(), "end of link"))[0], False)
    release()
    await cli.disconnect()


class NoAdapters(BluetoothAdapters):
    adapters = {}
    history = {}
    default_adapter = ""

    async def refresh(self):
        pass


async def home_assistant(host, port, key, most):
    manager = habluetooth.BluetoothManager(NoAdapters())
    habluetooth.set_manager(manager)
    await manager.async_setup()
    cli = APIClient(host, port, None, noise_psk=key, client_info="home-assistant")
    await cli.connect(login=True)
    data = connect_scanner(cli, await cli.device_info(), True)
    undo = data.scanner.async_setup()
    unregister = manager.async_register_scanner(data.scanner)
    async with asyncio.timeout(180):
        # The name comes with active scanning, to which the proxy has to change first.
        while not (device := manager.async_ble_device_from_address(PULSE, True)) or not device.name:
            await asyncio.sleep(0.05)
        while data.bluetooth_device.ble_connections_free != most:
            await asyncio.sleep(0.05)
    check("Home Assistant's stack hears it", device.name, "Pulse HR-1")
    for cached in (False, True):
        gone, values = asyncio.Event(), asyncio.Queue()
        client = habluetooth.HaBleakClientWrapper(device, disconnected_callback=lambda _: gone.set())
        await within(client.connect(), "connect", 180)
        check(f"connected (cached: {cached})", client.is_connected, True)
        check("services", client.services.get_service(SERVICE) is not None, True)
        await client.write_gatt_char(GREETING, b"from Home Assistant", response=True)
        check("read", bytes(await client.read_gatt_char(GREETING)), b"from Home Assistant")
        await client.start_notify(COUNTER, lambda _, v: values.put_nowait(bytes(v)))
        for _ in range(2):
            check("notification", len(await within(values.get(), "notification")), 4)
        await client.stop_notify(COUNTER)
        if cached:
            check("cache cleared", await client.clear_cache(), True)
        await client.disconnect()
        await within(gone.wait(), "disconnected callback")
        check("disconnected", client.is_connected, False)
    unregister()
    undo()
    await cli.disconnect()


async def main():
    host, port, key, real_name, real_mac = sys.argv[1:6]
    port, most = int(port), int(sys.argv[6])
    await refused(host, port, OTHER_KEY, InvalidEncryptionKeyAPIError)
    await refused(host, port, None, RequiresEncryptionAPIError)
    await library(host, port, key, real_name, real_mac, most)
    await home_assistant(host, port, key, most)
    print(f"{passed} checks passed")


asyncio.run(main())
