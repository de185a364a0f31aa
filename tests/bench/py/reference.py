"""The reference: the Bluetooth stack of Home Assistant on ESPHome proxies, in one process.

Argument: a JSON object {"addresses": ["HOST:PORT", …], "psk": BASE64 or "", "first": bool}. Says READY once it has subscribed to every
proxy, with "first" FIRST and the CPU seconds used so far at the first advertisement, and obeys lines of standard
input until that ends:

connect ADDRESS        connects; answers CONNECTED
again first|again      ends the connection and makes it anew, forgetting the services before or not; answers AGAIN and the seconds
read UUID N            reads N times; answers READ and the median in seconds
notify UUID            subscribes; answers NOTIFYING
await N                answers AWAITED and N once N notifications came
"""
import asyncio
import json
import statistics
import sys
import time

import habluetooth
from aioesphomeapi import APIClient
from bleak_esphome import connect_scanner
from bluetooth_adapters import BluetoothAdapters


class NoAdapters(BluetoothAdapters):
    """The machine has no Bluetooth of its own."""

    adapters = {}
    history = {}
    default_adapter = ""

    async def refresh(self):
        pass


class Stack:
    def __init__(self, manager):
        self.manager = manager
        self.client = None
        self.values = 0
        self.wanted = asyncio.Event()
        self.want = 0

    def on_value(self, _, value):
        self.values += 1
        if self.values == self.want:
            self.wanted.set()

    async def connect(self, address):
        async with asyncio.timeout(30):
            while not (device := self.manager.async_ble_device_from_address(address, True)):
                await asyncio.sleep(0.05)
        self.client = habluetooth.HaBleakClientWrapper(device)
        await self.client.connect()
        return "CONNECTED"

    async def again(self, kind):
        """Ends the connection and makes it anew; "first" forgets the services before."""
        address = self.client.address
        if kind == "first":
            await self.client.clear_cache()
        await self.client.disconnect()
        device = self.manager.async_ble_device_from_address(address, True)
        self.client = habluetooth.HaBleakClientWrapper(device)
        await asyncio.sleep(0.2)  # as quiet as the bus of the program is before its calls: processors are idle then
        start = time.perf_counter()
        await self.client.connect()
        return f"AGAIN {time.perf_counter() - start:.9f}"

    async def read(self, uuid, count):
        char = self.client.services.get_characteristic(uuid)
        took = []
        for _ in range(int(count)):
            start = time.perf_counter()
            await self.client.read_gatt_char(char)
            took.append(time.perf_counter() - start)
        return f"READ {statistics.median(took):.9f}"

    async def notify(self, uuid):
        await self.client.start_notify(uuid, self.on_value)
        return "NOTIFYING"

    async def awaited(self, count):
        self.want = int(count)
        if self.values < self.want:
            self.wanted.clear()
            await self.wanted.wait()
        return f"AWAITED {count}"


async def add(manager, address, psk):
    host, port = address.rsplit(":", 1)
    cli = APIClient(host, int(port), None, noise_psk=psk or None, client_info="reference")
    await cli.connect(login=True)
    data = connect_scanner(cli, await cli.device_info(), True)
    data.scanner.async_setup()
    manager.async_register_scanner(data.scanner)
    return cli


class Manager(habluetooth.BluetoothManager):
    """The library wants a subclass that consumes what is discovered; this one does nothing with it."""

    def _discover_service_info(self, service_info):
        pass


class First(habluetooth.BluetoothManager):
    """Tells of the first advertisement that reaches an integration."""

    told = False

    def _discover_service_info(self, service_info):
        if not self.told:
            self.told = True
            print(f"FIRST {time.process_time():.6f}", flush=True)


async def main():
    args = json.loads(sys.argv[1])
    manager = (First if args.get("first") else Manager)(NoAdapters())
    habluetooth.set_manager(manager)
    await manager.async_setup()
    clients = await asyncio.gather(*(add(manager, a, args["psk"]) for a in args["addresses"]))
    print("READY", flush=True)
    stack = Stack(manager)
    do = {"connect": stack.connect, "read": stack.read, "again": stack.again, "notify": stack.notify, "await": stack.awaited}
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        verb, *rest = line.decode().split()
        print(await do[verb](*rest), flush=True)
    await asyncio.gather(*(c.disconnect(force=True) for c in clients))


asyncio.run(main())
