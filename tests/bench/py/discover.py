"""A bleak program that discovers, unfiltered, until standard input ends: what Home Assistant or a script does with BlueZ.

Says READY once it discovers, and for each line of input HEARD and how many advertisements it was told of so far.
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
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            print(f"HEARD {heard}", flush=True)


asyncio.run(main())
