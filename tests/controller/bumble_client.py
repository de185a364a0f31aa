"""A host, Bumble unmodified, on a virtual controller: prints a line STEP NAME for each step that passed.

bumble_client.py TRANSPORT PERIPHERALS CONTROL CYCLES [bonded]
"""

import asyncio
import json
import sys

from bumble.core import UUID, ProtocolError
from bumble.device import Device, DeviceConfiguration, Peer
from bumble.hci import Address
from bumble.keys import MemoryKeyStore
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport import open_transport

MAIN = Address("00:AA:01:01:00:01", Address.PUBLIC_DEVICE_ADDRESS)
BEACON = Address("C4:11:22:33:44:55", Address.RANDOM_DEVICE_ADDRESS)
ENCRYPTED, LONG, INDICATED, NOTIFIED, BOTH, COMMAND, SLOW = 60, 43, 40, 37, 33, 31, 72


def step(name, *more):
    print("STEP", name, *more, flush=True)


def check(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: {got!r}, want {want!r}")


class Control:
    """The peripheral's own side."""

    def __init__(self, path):
        self.path = path

    async def ask(self, **request):
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await reader.readline())
        writer.close()
        check(answer["ok"], True, f"control {request}")
        return answer


async def characteristics(connection):
    """The whole database, by value handle."""
    peer = Peer(connection)
    found, services = {}, []
    await peer.discover_services()
    for service in peer.services:
        await service.discover_characteristics()
        services.append((service.handle, service.end_group_handle))
        for c in service.characteristics:
            await c.discover_descriptors()
            found[c.handle] = c
    return services, found


async def scan(device):
    seen, both = {}, asyncio.Event()

    def heard(advertisement):
        seen[str(advertisement.address)] = advertisement
        main = seen.get(str(MAIN))
        # The name is in the scan response only.
        if main and b"GoldenTest1" in bytes(main.data) and str(BEACON) in seen:
            both.set()

    device.on("advertisement", heard)
    await device.start_scanning(active=True)
    await both.wait()
    await device.stop_scanning()
    device.remove_listener("advertisement", heard)
    check(seen[str(MAIN)].is_connectable, True, "connectable")
    if not -127 < seen[str(MAIN)].rssi < 0:
        raise AssertionError(f"RSSI {seen[str(MAIN)].rssi}")


def compare(services, found, wanted):
    """The database is the peripheral's but for what no proxy tells: end handles, includes, secondary marks."""
    listed = [s for s in wanted["gatt"]["services"]]
    check([s[0] for s in services], [s["handle"] for s in listed], "services")
    ends = [s["handle"] - 1 for s in listed[1:]] + [0xFFFF]
    check([s[1] for s in services], ends, "end handles")
    for s in listed:
        for c in s["characteristics"]:
            have = found[c["value_handle"]]
            check(have.uuid.to_bytes(force_128=True), UUID(c["uuid"]).to_bytes(force_128=True), "UUID")
            check([d.handle for d in have.descriptors], [d["handle"] for d in c["descriptors"]], "descriptors")


async def disconnected(connection):
    """A future of the reason for which the link ends."""
    ended = asyncio.get_running_loop().create_future()
    connection.on("disconnection", lambda reason: ended.done() or ended.set_result(reason))
    return ended


async def use(device, wanted, control, bonded):
    await scan(device)
    step("scan")
    connection = await device.connect(MAIN)
    step("connect")
    peer = Peer(connection)
    await peer.request_mtu(517)
    check(connection.att_mtu, wanted["mtu"], "MTU")
    services, found = await characteristics(connection)
    compare(services, found, wanted)
    step("list")
    for s in wanted["gatt"]["services"]:
        for c in s["characteristics"]:
            if "read" not in c["properties"] or c.get("security") or c.get("delay_ms"):
                continue
            try:
                value = await found[c["value_handle"]].read_value()
            except ProtocolError as e:
                check(int(e.error_code), c.get("read_error"), f"error of {c['name']}")
            else:
                check((c.get("read_error"), value.hex()), (None, c["value"]), c["name"])
    step("read")
    check(len(await found[LONG].read_value()), 300, "long value")
    await found[LONG].write_value(bytes(200), with_response=True)
    check(await found[LONG].read_value(), bytes(200), "long value")
    await found[BOTH].write_value(b"written", with_response=True)
    check(await found[BOTH].read_value(), b"written", "value")
    step("write")
    for i in range(20):
        await found[COMMAND].write_value(bytes([i]), with_response=False)
    await found[BOTH].read_value()  # comes behind them
    writes = [w["value"] for w in (await control.ask(op="status"))["writes"] if w["handle"] == COMMAND]
    check(writes, [f"{i:02x}" for i in range(20)], "commands")
    step("command")
    for handle, indicate in ((NOTIFIED, False), (INDICATED, True)):
        got, all_came = [], asyncio.Event()

        def told(value, got=got, all_came=all_came):
            got.append(value.hex())
            if len(got) == 10:
                all_came.set()

        await found[handle].subscribe(told, prefer_notify=not indicate)
        for i in range(10):
            await control.ask(op="notify", handle=handle, value=f"{i:02x}", indicate=indicate)
        await all_came.wait()
        check(got, [f"{i:02x}" for i in range(10)], "notifications")
        await found[handle].unsubscribe(told)
        step("indicate" if indicate else "notify")
    try:
        value = await found[ENCRYPTED].read_value()
        # Where the proxy has a bond already, the daemon encrypts with it by itself.
        if not bonded:
            raise AssertionError("the value was read without encryption")
        check(value, b"secret", "encrypted value")
    except ProtocolError as e:
        if int(e.error_code) not in (0x05, 0x0F):
            raise
    await connection.pair()
    check(bool(connection.encryption), True, "encryption")
    check(await found[ENCRYPTED].read_value(), b"secret", "encrypted value")
    step("pair")
    slow = asyncio.create_task(found[SLOW].read_value())  # what waits at the end is given up
    await asyncio.sleep(0)
    ended = await disconnected(connection)
    await connection.disconnect()
    check(await ended, 0x16, "reason")
    slow.cancel()
    step("disconnect")
    connection = await device.connect(MAIN)
    await connection.encrypt()
    check(bool(connection.encryption), True, "encryption")
    _, found = await characteristics(connection)
    check(await found[ENCRYPTED].read_value(), b"secret", "encrypted value")
    step("encrypt")
    for reason in (0x13, 0x08):
        ended = await disconnected(connection)
        await control.ask(op="disconnect", reason=reason)
        check(await ended, reason, "reason")
        if reason == 0x13:
            connection = await device.connect(MAIN)
            # A link that ends before its services are known is made again, of which the host is not told.
            await characteristics(connection)
    step("dropped")


async def absent(device, control):
    """A device that is away is waited for; a cancel ends that."""
    await control.ask(op="advertise", on=False)
    try:
        await device.connect(MAIN, timeout=2)
        raise AssertionError("connected to nobody")
    except Exception as e:  # Bumble's kinds of time-outs differ by version
        if isinstance(e, AssertionError):
            raise
    await control.ask(op="advertise", on=True)
    step("absent")


async def again(device, cycles):
    for _ in range(cycles):
        connection = await device.connect(MAIN)
        peer = Peer(connection)
        await peer.discover_services()
        await connection.disconnect()
    step("cycles", cycles)


async def main():
    transport, peripherals, path, cycles = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    wanted = next(d for d in json.load(open(peripherals))["devices"] if d["id"] == "main")
    control = Control(path)
    await control.ask(op="reset")
    await control.ask(op="forget_bonds")
    async with await open_transport(transport) as t:
        config = DeviceConfiguration(name="host", address=Address("F0:F1:F2:F3:F4:F5"))
        device = Device.from_config_with_hci(config, t.source, t.sink)
        device.keystore = MemoryKeyStore()
        delegate = PairingDelegate(PairingDelegate.NO_OUTPUT_NO_INPUT)
        device.pairing_config_factory = lambda _: PairingConfig(sc=True, mitm=False, bonding=True, delegate=delegate)
        await device.power_on()
        step("power")
        await use(device, wanted, control, len(sys.argv) > 5)
        await absent(device, control)
        await again(device, cycles)


if __name__ == "__main__":
    asyncio.run(main())
