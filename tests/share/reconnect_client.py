"""A host that stays: ESPHome's own client library with its own reconnection. It prints a line per event and ends when its input does.

Arguments: HOST PORT KEY.
"""
import asyncio
import sys

from aioesphomeapi import APIClient, ReconnectLogic


async def main():
    host, port, key = sys.argv[1:4]
    cli = APIClient(host, int(port), None, noise_psk=key, client_info="stays")

    async def on_connect():
        heard = asyncio.Event()

        def on_raw(_):
            if not heard.is_set():
                heard.set()
                print("hears", flush=True)

        cli.subscribe_bluetooth_le_raw_advertisements(on_raw)

    async def on_disconnect(expected):
        print("lost", flush=True)

    logic = ReconnectLogic(client=cli, on_connect=on_connect, on_disconnect=on_disconnect)
    await logic.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await logic.stop()
    await cli.disconnect()


asyncio.run(main())
