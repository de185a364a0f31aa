"""A bleak program that discovers, unfiltered, until standard input ends: what Home Assistant or a script does with BlueZ.

Says READY once it discovers, and at the end how many advertisements it was told of.
"""
import asyncio
import sys

from bleak import BleakScanner

heard = 0


def on_advert(_device, _advert):
    global heard
    heard += 1


async def main():
    async with BleakScanner(on_advert):
        print("READY", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(f"HEARD {heard}", flush=True)


asyncio.run(main())
