"""Looks for ESPHome devices as Home Assistant does, and prints a line of JSON for each that comes or goes; ends when its input does."""
import asyncio
import json
import sys

from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

SERVICE = "_esphomelib._tcp.local."


async def main():
    zc, tasks = AsyncZeroconf(), set()

    async def resolve(name):
        info = AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(zc.zeroconf, 10000):
            print(json.dumps({"ev": "unresolved", "name": name}), flush=True)
            return
        text = {k.decode(): v.decode() for k, v in info.properties.items()}
        print(json.dumps({"ev": "found", "name": name, "host": info.server, "port": info.port, "addresses": info.parsed_addresses(), "text": text}), flush=True)

    def changed(zeroconf, service_type, name, state_change):
        if state_change is ServiceStateChange.Removed:
            print(json.dumps({"ev": "gone", "name": name}), flush=True)
        elif state_change is ServiceStateChange.Added:
            task = asyncio.ensure_future(resolve(name))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    browser = AsyncServiceBrowser(zc.zeroconf, SERVICE, handlers=[changed])
    print(json.dumps({"ev": "looking"}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await browser.async_cancel()
    await zc.async_close()


asyncio.run(main())
