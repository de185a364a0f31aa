"""Prints in which mode a proxy scans, and in which it is configured to: scan_mode.py HOST PORT."""
import asyncio
import sys

from aioesphomeapi import APIClient


async def main():
    client = APIClient(sys.argv[1], int(sys.argv[2]), None)
    await client.connect(login=True)
    state = asyncio.get_running_loop().create_future()
    client.subscribe_bluetooth_le_raw_advertisements(lambda _: None)
    client.subscribe_bluetooth_scanner_state(lambda s: state.done() or state.set_result(s))
    s = await asyncio.wait_for(state, 10)
    print("mode", s.mode.name, "configured", s.configured_mode.name, flush=True)
    await client.disconnect()


asyncio.run(main())
