"""A host, Bumble unmodified, that joins the link of a device which another party holds. It does what lines on its standard input say.

bumble_guest.py TRANSPORT
"""

import asyncio
import sys

from bumble.device import Device, Peer
from bumble.hci import Address
from bumble.transport import open_transport

MAIN = Address("00:AA:01:01:00:01", Address.PUBLIC_DEVICE_ADDRESS)
NOTIFIED, NAME = 37, 3


async def main():
    loop = asyncio.get_running_loop()
    async with await open_transport(sys.argv[1]) as t:
        device = Device.with_hci("guest", Address("F0:F1:F2:F3:F4:F6"), t.source, t.sink)
        await device.power_on()
        connection = await device.connect(MAIN)
        peer = Peer(connection)
        found = {}
        await peer.discover_services()
        for service in peer.services:
            await service.discover_characteristics()
            for c in service.characteristics:
                await c.discover_descriptors()
                found[c.handle] = c
        print("NAME", (await found[NAME].read_value()).decode(), flush=True)
        told = lambda value: print("GOT", value.hex(), flush=True)  # noqa: E731
        await found[NOTIFIED].subscribe(told)
        print("READY", flush=True)
        for wanted in ("unsubscribe", "disconnect"):
            line = (await loop.run_in_executor(None, sys.stdin.readline)).strip()
            if line != wanted:
                raise AssertionError(f"told {line!r}, not {wanted!r}")
            if line == "unsubscribe":
                await found[NOTIFIED].unsubscribe(told)
            else:
                await connection.disconnect()
            print("DONE", line, flush=True)


asyncio.run(main())
