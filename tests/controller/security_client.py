"""A host, Bumble unmodified, that pairs and comes back with its keys: prints a line STEP NAME for each step that passed.

security_client.py TRANSPORT CONTROL KEYS pair|again|refused

Keys are kept in the file KEYS, so that "again" may run after "pair" with another daemon in between.
"""

import asyncio
import sys

from bumble.core import ProtocolError
from bumble.device import Device, DeviceConfiguration, Peer
from bumble.hci import HCI_PIN_OR_KEY_MISSING_ERROR, Address, HCI_Error
from bumble.keys import JsonKeyStore, MemoryKeyStore
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport import open_transport

from bumble_client import ENCRYPTED, MAIN, Control, check, step


class Host:
    """A host with one kind of pairing and keys of its own, which comes and goes."""

    def __init__(self, transport, kind, keys, bonding=True):
        self.transport, self.kind, self.bonding = transport, kind, bonding
        self.keystore = JsonKeyStore(kind, keys) if keys else MemoryKeyStore()

    async def connected(self, use):
        address = Address(f"F0:F1:F2:F3:F4:{'05' if self.kind == 'secure' else '06'}")
        async with await open_transport(self.transport) as hci:
            device = Device.from_config_with_hci(DeviceConfiguration(name="host", address=address), hci.source, hci.sink)
            device.keystore = self.keystore
            delegate = PairingDelegate(PairingDelegate.NO_OUTPUT_NO_INPUT)
            device.pairing_config_factory = lambda _: PairingConfig(
                sc=self.kind == "secure", mitm=False, bonding=self.bonding, delegate=delegate
            )
            await device.power_on()
            connection = await device.connect(MAIN)
            await use(connection)
            if device.connections:  # it ends a link that it cannot encrypt
                await connection.disconnect()


async def secret(connection):
    check(bool(connection.encryption), True, "encryption")
    check(await Peer(connection).gatt_client.read_value(ENCRYPTED), b"secret", "encrypted value")


async def pairs(connection):
    await connection.pair()
    await secret(connection)


async def encrypts(connection):
    await connection.encrypt()
    await secret(connection)


async def key_missing(connection):
    """The host is told that its key is not known, and the value stays closed to it."""
    try:
        await connection.encrypt()
        raise AssertionError("encrypted with a key that was not given")
    except HCI_Error as e:
        check(e.error_code, HCI_PIN_OR_KEY_MISSING_ERROR, "status")


async def with_false_keys(transport, host):
    """A copy of a host whose keys are not those that it was given."""
    false = Host(transport, host.kind, None)
    for name, keys in await host.keystore.get_all():
        for k in (keys.ltk, keys.ltk_central, keys.ltk_peripheral):
            if k:
                k.value = bytes(16)
        await false.keystore.update(name, keys)
    return false


async def pair(transport, control, keys):
    for kind in ("legacy", "secure"):
        await control.ask(op="forget_bonds")
        host = Host(transport, kind, keys)
        await host.connected(pairs)
        await host.connected(encrypts)
        step("pair", kind)
        await (await with_false_keys(transport, host)).connected(key_missing)
        step("false", kind)
        await Host(transport, kind, None, bonding=False).connected(pairs)
        await host.connected(encrypts)  # which has its key still
        step("unbonded", kind)


async def again(transport, control, keys):
    host = Host(transport, "secure", keys)  # the one that paired last
    await host.connected(encrypts)
    step("again")


async def refused(transport, control, keys):
    async def refuses(connection):
        try:
            await connection.pair()
            raise AssertionError("paired though the peripheral refused")
        except ProtocolError as e:
            check((e.error_namespace, int(e.error_code)), ("smp", 3), "reason")  # Authentication Requirements: a passkey

    await Host(transport, "secure", None).connected(refuses)
    await Host(transport, "legacy", None).connected(refuses)
    step("refused")


async def main():
    transport, path, keys, what = sys.argv[1:]
    await {"pair": pair, "again": again, "refused": refused}[what](transport, Control(path), keys)


asyncio.run(main())
