"""ESPHome's own client library under remote control: another host with a shared proxy.

Arguments: HOST PORT KEY NAME; an empty KEY is plaintext. It reads commands as lines of JSON, and prints what happens so. It ends when its input does.
"""
import asyncio
import json
import sys

from aioesphomeapi import APIClient
from aioesphomeapi.core import APIConnectionError, BluetoothGATTAPIError
from aioesphomeapi.model import BluetoothScannerMode

MODES = {"active": BluetoothScannerMode.ACTIVE, "passive": BluetoothScannerMode.PASSIVE}


def say(event, **fields):
    print(json.dumps({"ev": event, **fields}), flush=True)


def text(address):
    return ":".join(f"{address:012X}"[i : i + 2] for i in range(0, 12, 2))


class Host:
    def __init__(self, cli, flags):
        self.cli, self.flags, self.releases, self.handles, self.heard = cli, flags, {}, {}, {}

    async def slots(self):
        self.cli.subscribe_bluetooth_connections_free(
            lambda free, limit, allocated: say("slots", free=free, limit=limit, links=[text(a) for a in allocated])
        )

    async def listen(self):
        def on_raw(batch):
            for adv in batch.advertisements:
                self.heard.setdefault(text(adv.address), []).append([bytes(adv.data).hex(), adv.rssi])

        self.cli.subscribe_bluetooth_scanner_state(lambda s: say("scanner", state=s.state.name, mode=s.mode.name))
        self.cli.subscribe_bluetooth_le_raw_advertisements(on_raw)

    async def adverts(self, address):
        say("adverts", address=address, list=self.heard.pop(address, []))

    async def settle(self):
        await self.cli.device_info()  # is answered behind everything that was sent before

    async def mode(self, mode):
        self.cli.bluetooth_scanner_set_mode(MODES[mode])

    async def connect(self, address, type):
        def on_state(up, mtu, error):
            say("link", address=address, up=up, error=error)

        self.releases[address] = await self.cli.bluetooth_device_connect(
            int(address.replace(":", ""), 16), on_state, feature_flags=self.flags, address_type=type, timeout=180
        )

    async def disconnect(self, address):
        await self.cli.bluetooth_device_disconnect(int(address.replace(":", ""), 16))

    async def find(self, address, uuid):
        services = await self.cli.bluetooth_gatt_get_services(int(address.replace(":", ""), 16))
        return next(c for s in services.services for c in s.characteristics if c.uuid == uuid)

    async def read(self, address, uuid):
        char = await self.find(address, uuid)
        value = await self.cli.bluetooth_gatt_read(int(address.replace(":", ""), 16), char.handle)
        say("read", address=address, value=bytes(value).hex())

    async def notify(self, address, uuid):
        char = await self.find(address, uuid)
        n = int(address.replace(":", ""), 16)
        await self.cli.bluetooth_gatt_start_notify(n, char.handle, lambda _, v: say("value", address=address, value=bytes(v).hex()))
        cccd = next(d for d in char.descriptors if d.uuid.startswith("00002902-"))
        await self.cli.bluetooth_gatt_write_descriptor(n, cccd.handle, b"\x01\x00")  # the device registers only
        say("subscribed", address=address)

    async def run(self, command):
        do = command.pop("do")
        try:
            await getattr(self, do)(**command)
        except BluetoothGATTAPIError as e:
            say("failed", do=do, error=type(e).__name__, code=e.error.error)
        except Exception as e:
            say("failed", do=do, error=type(e).__name__)
        else:
            say("done", do=do)


async def main():
    host, port, key, name = sys.argv[1:5]
    gone = asyncio.Event()

    async def on_stop(expected):
        say("lost")
        gone.set()

    cli = APIClient(host, int(port), None, noise_psk=key or None, client_info=name)
    try:
        await cli.connect(on_stop=on_stop, login=True)
    except APIConnectionError as e:
        say("refused", error=type(e).__name__)
        return
    info = await cli.device_info()
    flags = info.bluetooth_proxy_feature_flags_compat(cli.api_version)
    say("up", name=info.name, mac=info.mac_address, radio=info.bluetooth_mac_address, flags=flags, version=info.esphome_version)
    h, tasks = Host(cli, flags), set()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        task = asyncio.create_task(h.run(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if not gone.is_set():
        await cli.disconnect()


asyncio.run(main())
