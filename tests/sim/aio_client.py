"""Drives a simulated proxy with ESPHome's own client library.

Arguments: HOST PORT KEY CONTROL PERIPHERALS, where KEY is base64 or "-" for
plaintext, CONTROL the control socket of the peripheral "main", and PERIPHERALS the
peripheral file that the simulator runs on. Prints one line per step and exits 0 if all went as it
should.
"""

import asyncio
import json
import sys

from aioesphomeapi import APIClient
from aioesphomeapi.core import (
    APIConnectionError,
    BluetoothGATTAPIError,
    EncryptionPlaintextAPIError,
    InvalidEncryptionKeyAPIError,
    RequiresEncryptionAPIError,
)
from aioesphomeapi.model import BluetoothScannerMode, BluetoothScannerState

PROPERTIES = {
    "broadcast": 0x01, "read": 0x02, "write-without-response": 0x04, "write": 0x08,
    "notify": 0x10, "indicate": 0x20, "authenticated-signed-writes": 0x40, "extended-properties": 0x80,
}
OTHER_KEY = "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXkgISE="
steps = 0


def check(what, got, want):
    global steps
    if got != want:
        raise SystemExit(f"{what}: got {got!r}, want {want!r}")
    steps += 1
    print(f"ok {what}")


async def within(fut, what, seconds=60):
    """Waits for fut, far longer than it takes: the machine may be busy."""
    try:
        return await asyncio.wait_for(fut, seconds)
    except asyncio.TimeoutError:
        raise SystemExit(f"{what}: nothing within {seconds} s") from None


async def control(path, **request):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write((json.dumps(request) + "\n").encode())
    await writer.drain()
    answer = json.loads(await within(reader.readline(), "control answer"))
    writer.close()
    if not answer.pop("ok"):
        raise SystemExit(f"control {request}: {answer}")
    return answer


async def gatt_error(awaitable):
    try:
        await awaitable
    except BluetoothGATTAPIError as e:
        return e.error.error
    return 0


def expected_services(main):
    return [
        (s["uuid"], s["handle"], [
            (c["uuid"], c["value_handle"], sum(PROPERTIES[p] for p in c["properties"]),
             [(d["uuid"], d["handle"]) for d in c["descriptors"]])
            for c in s["characteristics"]
        ])
        for s in main["gatt"]["services"]
    ]


def got_services(services):
    return [
        (s.uuid, s.handle, [
            (c.uuid, c.handle, c.properties, [(d.uuid, d.handle) for d in c.descriptors])
            for c in s.characteristics
        ])
        for s in services
    ]


async def refused(host, port, key, error):
    cli = APIClient(host, port, None, noise_psk=key, client_info="wrong")
    try:
        await cli.connect(login=True)
    except error as e:
        check(f"refused: {error.__name__}", type(e), error)
        return
    except APIConnectionError as e:
        raise SystemExit(f"wrong key: got {e!r}, want {error.__name__}") from e
    raise SystemExit("wrong key: connected")


async def session(host, port, key, sock, main):
    address = int(main["address"].replace(":", ""), 16)
    handles = {
        c["name"]: c["value_handle"] for s in main["gatt"]["services"] for c in s["characteristics"]
    }
    stopped = asyncio.Event()

    async def on_stop(expected):
        check("stop is expected", expected, True)
        stopped.set()

    cli = APIClient(host, port, None, noise_psk=key, client_info="aio client test")
    await cli.connect(on_stop=on_stop, login=True)
    info = await cli.device_info()
    check("name", info.name, "noisy" if key else "plain")
    check("version", info.esphome_version, "2026.10.0")
    check("flags", info.bluetooth_proxy_feature_flags_compat(cli.api_version), 0xFF)
    check("api version", (cli.api_version.major, cli.api_version.minor), (1, 19))
    check("encryption", info.api_encryption_supported, bool(key))
    check("radio address", len(info.bluetooth_mac_address), 17)
    entities, services = await within(cli.list_entities_services(), "entities")
    check("entities", (entities, services), ([], []))

    # Slots, scanner, advertisements.
    slots = asyncio.Queue()
    cli.subscribe_bluetooth_connections_free(lambda *a: slots.put_nowait(a))
    check("slots", await within(slots.get(), "slots"), (3, 3, []))
    scanner, raw = asyncio.Queue(), asyncio.Queue()

    def on_raw(batch):
        for adv in batch.advertisements:
            if adv.address == address:
                raw.put_nowait((bytes(adv.data).hex(), adv.rssi, adv.address_type))

    async def heard(what, want, old):
        """Checks that what is heard is want; what was under way when it changed comes first and is still old."""
        async def first():
            while (data := (await raw.get())[0]) == old:
                pass
            return data
        check(what, await within(first(), what), want)

    cli.subscribe_bluetooth_scanner_state(scanner.put_nowait)
    cli.subscribe_bluetooth_le_raw_advertisements(on_raw)
    adv = main["advertisement"]
    full, changed = adv["raw_advertisement"] + adv["raw_scan_response"], "020106"
    check("advertisement", await within(raw.get(), "advertisement"), (full, -60, 0))
    state = await within(scanner.get(), "scanner state")
    check("scanner", (state.state, state.mode), (BluetoothScannerState.RUNNING, BluetoothScannerMode.ACTIVE))
    await control(sock, op="set_advertisement", raw_advertisement=changed, raw_scan_response="")
    await heard("changed advertisement", changed, old=full)
    await control(sock, op="reset")
    await heard("advertisement after the reset", full, old=changed)
    cli.bluetooth_scanner_set_mode(BluetoothScannerMode.PASSIVE)
    while True:
        state = await within(scanner.get(), "passive scanner")
        if state.state == BluetoothScannerState.RUNNING:
            break
    check("passive", state.mode, BluetoothScannerMode.PASSIVE)
    await heard("passive advertisement", adv["raw_advertisement"], old=full)

    # Connect.
    links = asyncio.Queue()
    flags = info.bluetooth_proxy_feature_flags_compat(cli.api_version)
    release = await cli.bluetooth_device_connect(
        address, lambda *a: links.put_nowait(a), feature_flags=flags, address_type=0, timeout=60)
    check("connected", await within(links.get(), "link"), (True, 247, 0))
    check("slot taken", await within(slots.get(), "slots"), (2, 3, [address]))
    got = await within(cli.bluetooth_gatt_get_services(address), "services")
    check("services", got_services(got.services), expected_services(main))

    # Read and write.
    read = lambda name: cli.bluetooth_gatt_read(address, handles[name], timeout=60)
    write = lambda name, data, response=True: cli.bluetooth_gatt_write(
        address, handles[name], data, response, timeout=60)
    check("read", bytes(await read("ro")), b"hello")
    check("long read", len(await read("long")), 300)
    check("read of a write-only value", await gatt_error(read("w")), 2)
    check("application error", await gatt_error(read("err_app")), 128)
    check("unencrypted", await gatt_error(read("enc")), 15)
    check("unauthenticated", await gatt_error(read("auth")), 5)
    check("unauthorized", await gatt_error(read("authz")), 8)
    check("write of a read-only value", await gatt_error(write("ro", b"x")), 3)
    await write("w", b"\x01\x02")
    await write("wwr", b"\x03", response=False)
    await write("rwn", b"\x05")
    check("read back", bytes(await read("rwn")), b"\x05")
    check("too long", await gatt_error(write("long", bytes(513))), 13)
    check("descriptor", bytes(await cli.bluetooth_gatt_read_descriptor(address, 27)), b"Read only")
    await cli.bluetooth_gatt_write_descriptor(address, 50, b"\x09")
    check("descriptor read back", bytes(await cli.bluetooth_gatt_read_descriptor(address, 50)), b"\x09")

    # Notify.
    values = asyncio.Queue()
    stop, _ = await cli.bluetooth_gatt_start_notify(
        address, handles["n"], lambda h, v: values.put_nowait((h, bytes(v))))
    await control(sock, op="notify", handle=handles["n"], value="00")  # the CCCD is not set: lost
    await cli.bluetooth_gatt_write_descriptor(address, 38, b"\x01\x00")
    for i in range(1, 4):
        await control(sock, op="notify", handle=handles["n"], value=f"{i:02x}")
        check("notification", await within(values.get(), "notification"), (handles["n"], bytes([i])))
    status = await control(sock, op="status")
    check("status", status, {
        "connections": 1, "advertising": False, "subscriptions": [handles["n"]],
        "writes": [
            {"handle": handles["w"], "value": "0102"}, {"handle": handles["wwr"], "value": "03"},
            {"handle": handles["rwn"], "value": "05"}, {"handle": 50, "value": "09"},
        ]})
    await stop()

    # Pairing and the rest.
    paired = await cli.bluetooth_device_pair(address)
    check("paired", (paired.paired, paired.error), (True, 0))
    check("encrypted", bytes(await read("enc")), b"secret")
    unpaired = await cli.bluetooth_device_unpair(address)
    check("unpaired", (unpaired.success, unpaired.error), (True, 0))
    await cli.bluetooth_device_set_connection_params(address, 6, 12, 0, 500)
    cleared = await cli.bluetooth_device_clear_cache(address)
    check("cache cleared", (cleared.success, cleared.error), (True, 0))
    await cli.bluetooth_device_disconnect(address)
    check("disconnected", (await within(links.get(), "end of link"))[0], False)
    release()
    while (s := await within(slots.get(), "free slot"))[0] != 3:
        pass
    check("slot freed", s, (3, 3, []))

    # With cache: the link is reported at once with the smallest MTU, and no services come.
    links = asyncio.Queue()
    release = await cli.bluetooth_device_connect(
        address, lambda *a: links.put_nowait(a), feature_flags=flags, has_cache=True, address_type=0, timeout=60)
    check("cached link", await within(links.get(), "cached link"), (True, 23, 0))
    check("cached services", got_services((await cli.bluetooth_gatt_get_services(address)).services), [])
    await control(sock, op="disconnect", reason=19)
    check("peer left", await within(links.get(), "end of link"), (False, 0, 19))
    release()
    await cli.disconnect()
    await within(stopped.wait(), "stop")


async def main():
    host, port, key, sock, file = sys.argv[1:]
    key = None if key == "-" else key
    with open(file, encoding="utf-8") as f:
        device = next(d for d in json.load(f)["devices"] if d["id"] == "main")
    await session(host, int(port), key, sock, device)
    if key:
        await refused(host, int(port), OTHER_KEY, InvalidEncryptionKeyAPIError)
        await refused(host, int(port), None, RequiresEncryptionAPIError)
    else:
        await refused(host, int(port), OTHER_KEY, EncryptionPlaintextAPIError)
    print(f"{steps} checks")


asyncio.run(main())
