"""A host, Bumble unmodified, of a peripheral whose database changes: prints a line STEP NAME for each step that passed.

changed_client.py TRANSPORT PERIPHERALS CONTROL
"""

import asyncio
import copy
import json
import sys

from bumble.core import UUID, ProtocolError
from bumble.device import Device, DeviceConfiguration, Peer
from bumble.hci import Address
from bumble.transport import open_transport

from bumble_client import MAIN, Control, characteristics, check, step

SERVICE_CHANGED, READ_ONLY = 8, 26
EVERYTHING = bytes.fromhex("0100ffff")
OTHER = "a5a50999-1000-4000-8000-00805f9b0001"


async def refused(connection):
    """The handle means another characteristic than the host was told."""
    try:
        value = await Peer(connection).gatt_client.read_value(READ_ONLY)
        raise AssertionError(f"given {value!r} of another characteristic")
    except ProtocolError as e:
        check(int(e.error_code), 0x01, "error")


async def learnt(connection, uuid, value):
    _, found = await characteristics(connection)
    check(bytes(found[READ_ONLY].uuid), bytes(UUID(uuid)), "UUID")
    check(await found[READ_ONLY].read_value(), value, "value")
    return found


def indications(connection):
    """A queue of Service Changed, before anybody subscribed on this link."""
    came, take = asyncio.Queue(), connection.gatt_client.on_gatt_pdu

    def look(pdu):
        if bytes(pdu)[:3] == bytes([0x1D, SERVICE_CHANGED, 0]):
            came.put_nowait(bytes(pdu)[3:])
        return take(pdu)

    connection.gatt_client.on_gatt_pdu = look
    return came


async def use(device, wanted, control):
    was = next(c for s in wanted["gatt"]["services"] for c in s["characteristics"] if c["value_handle"] == READ_ONLY)
    changed = copy.deepcopy(wanted["gatt"])
    for s in changed["services"]:
        for c in s["characteristics"]:
            if c["value_handle"] == READ_ONLY:
                c["uuid"], c["value"] = OTHER, b"new".hex()

    connection = await device.connect(MAIN)
    found = await learnt(connection, was["uuid"], bytes.fromhex(was["value"]))
    came = asyncio.Queue()
    await found[SERVICE_CHANGED].subscribe(came.put_nowait, prefer_notify=False)
    await control.ask(op="set_gatt", gatt=changed, indicate=True)
    check(await came.get(), EVERYTHING, "Service Changed")
    await refused(connection)
    await learnt(connection, OTHER, b"new")
    step("linked")
    await connection.disconnect()

    await control.ask(op="set_gatt", gatt=wanted["gatt"])
    connection = await device.connect(MAIN)
    came = indications(connection)
    await refused(connection)
    check(await came.get(), EVERYTHING, "Service Changed")
    await learnt(connection, was["uuid"], bytes.fromhex(was["value"]))
    step("away")
    await connection.disconnect()

    connection = await device.connect(MAIN)
    came = indications(connection)
    check(await Peer(connection).gatt_client.read_value(READ_ONLY), bytes.fromhex(was["value"]), "value")
    await learnt(connection, was["uuid"], bytes.fromhex(was["value"]))
    check(came.empty(), True, "silence")
    await connection.disconnect()
    step("same")


async def main():
    transport, peripherals, path = sys.argv[1:]
    wanted = next(d for d in json.load(open(peripherals))["devices"] if d["id"] == "main")
    async with await open_transport(transport) as hci:
        config = DeviceConfiguration(name="host", address=Address("F0:F1:F2:F3:F4:F5"))
        device = Device.from_config_with_hci(config, hci.source, hci.sink)
        await device.power_on()
        await use(device, wanted, Control(path))


asyncio.run(main())
