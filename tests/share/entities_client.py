"""Lists the entities of a shared proxy and waits for their states. Arguments: HOST PORT KEY"""
import asyncio
import sys

from aioesphomeapi import APIClient
from aioesphomeapi.core import APIConnectionError


async def main(host, port, key):
    async with asyncio.timeout(120):
        while True:
            cli = APIClient(host, int(port), None, noise_psk=key, client_info="entities")
            try:
                await cli.connect(login=True)
                break
            except APIConnectionError:
                await asyncio.sleep(0.1)
        entities, _ = await cli.list_entities_services()
        keys, done = set(), asyncio.Event()

        def on_state(state):
            keys.add(state.key)
            if len(keys) == 5:
                done.set()

        cli.subscribe_states(on_state)
        await done.wait()
    print(f"{len(entities)} entities, {len(keys)} states")
    await cli.disconnect()


asyncio.run(main(*sys.argv[1:]))
