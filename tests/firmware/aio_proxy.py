"""ESPHome Bluetooth proxies of several firmware versions, written on aioesphomeapi's message classes and independent of
our own simulator, each with one peripheral that it hears.

Arguments: versions such as 2024.6. Prints "VERSION PORT" for each, and serves until its input ends.
"""

import asyncio
import sys

from aioesphomeapi import api_pb2 as pb
from aioesphomeapi.core import MESSAGE_TYPE_TO_PROTO

NUMBER = {cls: number for number, cls in MESSAGE_TYPE_TO_PROTO.items()}
API = [((2022, 8), 6), ((2022, 10), 7), ((2023, 5), 8), ((2023, 6), 9), ((2024, 6), 10), ((2025, 8), 12), ((2025, 11), 13), ((2026, 1), 14),
       ((2026, 8), 15), ((2026, 9), 16), ((2026, 10), 19)]
BASE = (0x00001000, 0x800000805F9B34FB)
VENDOR = (0x7F5100041B1511E5, 0xB60B1697F925EC7B)
COUNTER = (0x7F5100051B1511E5, 0xB60B1697F925EC7B)
ADVERT = bytes.fromhex("02010603030f1811067bec25f997160bb6e511151b0400517f")  # flags, 180f, VENDOR
RESPONSE = bytes.fromhex("06ff99040512fc0516d2fc40020e0953656e736f7220c39c62756e67")  # company 1177, service data fcd2, name
ECHO, COUNTER_HANDLE, CCCD = 6, 9, 10


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


class Session:
    """One API connection. What it may ask for without being the subscriber is answered to the subscriber all the same."""

    def __init__(self, proxy, reader, writer):
        self.proxy, self.reader, self.writer = proxy, reader, writer
        self.authenticated = False

    async def varint(self):
        n = shift = 0
        while True:
            b = (await self.reader.readexactly(1))[0]
            n |= (b & 0x7F) << shift
            shift += 7
            if not b & 0x80:
                return n

    async def run(self):
        try:
            while True:
                if await self.reader.readexactly(1) != b"\0":
                    return
                size, number = await self.varint(), await self.varint()
                payload = await self.reader.readexactly(size)
                cls = MESSAGE_TYPE_TO_PROTO.get(number)
                handler = cls and getattr(self, "on_" + cls.__name__, None)
                if handler:
                    handler(cls.FromString(payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.proxy.left(self)
            self.writer.close()

    def send(self, *messages):
        for m in messages:
            payload = m.SerializeToString()
            self.writer.write(b"\0" + varint(len(payload)) + varint(NUMBER[type(m)]) + payload)

    def on_HelloRequest(self, m):
        minor = [minor for since, minor in API if since <= self.proxy.version][-1]
        self.send(pb.HelloResponse(api_version_major=1, api_version_minor=minor, server_info="aio", name=self.proxy.name))
        if self.proxy.version >= (2025, 8):
            self.authenticated = True

    def on_AuthenticationRequest(self, m):
        if self.proxy.version < (2026, 1):
            self.send(pb.AuthenticationResponse())
        self.authenticated = True

    def on_DeviceInfoRequest(self, m):
        p, v = self.proxy, self.proxy.version
        info = pb.DeviceInfoResponse(
            name=p.name, mac_address="AA:BB:CC:DD:%02X:%02X" % (v[0] % 100, v[1]), esphome_version="%d.%d.2" % v,
            bluetooth_proxy_feature_flags=p.flags, legacy_bluetooth_proxy_version=p.legacy)
        if v >= (2025, 5):
            info.bluetooth_mac_address = "AA:BB:CC:DE:%02X:%02X" % (v[0] % 100, v[1])
        self.send(info)

    def on_PingRequest(self, m):
        self.send(pb.PingResponse())

    def on_DisconnectRequest(self, m):
        self.send(pb.DisconnectResponse())
        self.writer.close()

    def on_SubscribeBluetoothLEAdvertisementsRequest(self, m):
        self.proxy.subscribe(self, m.flags & 1)

    def on_UnsubscribeBluetoothLEAdvertisementsRequest(self, m):
        self.proxy.left(self)

    def on_SubscribeBluetoothConnectionsFreeRequest(self, m):
        self.send(self.proxy.slots())

    def on_BluetoothScannerSetModeRequest(self, m):
        self.proxy.mode = m.mode
        for state in (4, 0, 1, 2):
            self.proxy.tell(pb.BluetoothScannerStateResponse(state=state, mode=m.mode, configured_mode=1))

    def on_BluetoothDeviceRequest(self, m):
        self.proxy.device_request(m)

    def __getattr__(self, name):
        if name.startswith("on_BluetoothGATT"):
            return lambda m: self.proxy.gatt(name[len("on_BluetoothGATT"):], m)
        raise AttributeError(name)


class Proxy:
    def __init__(self, version, number):
        self.version = tuple(map(int, version.split(".")))
        self.name, self.address = "aio-" + version.replace(".", "-"), 0x00AA04000000 + number
        self.subscriber, self.raw, self.mode = None, False, 0
        self.held, self.up, self.bonded = False, False, False  # the only connection: its slot, its link
        self.values = {3: b"Sensor", ECHO: b"hello", COUNTER_HANDLE: b"", CCCD: b"\0\0"}
        self.streamed = False
        v = self.version
        self.flags = 0 if v < (2023, 6) else 0x3F | (0x40 if v >= (2025, 5) else 0) | (0x80 if v >= (2026, 3) else 0)
        steps = [(2022, 8), (2022, 10), (2022, 12), (2023, 3), (2023, 5)]
        self.legacy = sum(v >= s for s in steps) if v < (2026, 1) else 0

    def tell(self, *messages):
        if self.subscriber:
            self.subscriber.send(*messages)

    def later(self, seconds, f, *args):
        asyncio.get_running_loop().call_later(seconds, f, *args)

    def subscribe(self, session, raw):
        if self.subscriber not in (None, session) and self.version < (2026, 7):
            return
        self.subscriber, self.raw = session, raw and self.version >= (2023, 6)
        if self.version >= (2025, 5):
            self.tell(pb.BluetoothScannerStateResponse(state=2, mode=self.mode, configured_mode=1 if self.version >= (2025, 9) else 0))

    def left(self, session):
        if self.subscriber is session:
            self.subscriber = None
            self.held = self.up = False

    def slots(self):
        m = pb.BluetoothConnectionsFreeResponse(free=2 if self.held else 3, limit=3)
        if self.held and self.version >= (2025, 2):
            m.allocated.append(self.address)
        return m

    def advertise(self):
        self.later(0.1, self.advertise)
        if self.up or not self.subscriber:
            return
        if self.raw or self.version >= (2025, 8):
            self.tell(pb.BluetoothLERawAdvertisementsResponse(advertisements=[
                pb.BluetoothLERawAdvertisement(address=self.address, rssi=-60, data=ADVERT + RESPONSE)]))
            return

        def data(uuid, b):
            if self.version < (2022, 10):
                return pb.BluetoothServiceData(uuid=uuid, legacy_data=list(b))
            return pb.BluetoothServiceData(uuid=uuid, data=b)
        self.tell(pb.BluetoothLEAdvertisementResponse(
            address=self.address, rssi=-60, name="Sensor Übung".encode(), service_uuids=["0x180F", "7F510004-1B15-11E5-B60B-1697F925EC7B"],
            service_data=[data("0xFCD2", b"\x40\x02")], manufacturer_data=[data("0x0499", b"\x05\x12\xfc")]))

    def device_request(self, m):
        kind = m.request_type
        response = pb.BluetoothDeviceConnectionResponse(address=m.address)
        if kind in (4, 5) and m.address == self.address and (m.has_address_type or self.version < (2025, 9)):
            if self.up:
                self.tell(pb.BluetoothDeviceConnectionResponse(address=m.address, connected=True, mtu=247), self.slots())
                return
            self.held, self.streamed = True, kind == 4
            self.tell(self.slots())
            self.later(0.05, self.connected, 23 if kind == 4 else 247)
        elif kind in (0, 4, 5):
            self.tell(response)
        elif kind == 1:
            if self.held:
                self.up = False
                self.later(0.03, self.disconnected, 0x16)
            else:
                self.tell(response, self.slots())
        elif kind == 2:
            self.bonded = True
            self.tell(pb.BluetoothDevicePairingResponse(address=m.address, paired=True))
        elif kind == 3:
            self.bonded = False
            cls = pb.BluetoothDevicePairingResponse if self.version <= (2026, 7) else pb.BluetoothDeviceUnpairingResponse
            self.tell(cls(address=m.address, **{"paired" if cls is pb.BluetoothDevicePairingResponse else "success": True}))
        elif kind == 6:
            self.tell(pb.BluetoothDeviceClearCacheResponse(address=m.address, success=True))

    def connected(self, mtu):
        if self.held:
            self.up = True
            self.tell(pb.BluetoothDeviceConnectionResponse(address=self.address, connected=True, mtu=mtu), self.slots())

    def disconnected(self, code):
        """The order is the version's: slot and second report at once, or with the second report, or one report only."""
        ended = pb.BluetoothDeviceConnectionResponse(address=self.address, error=code)
        if self.version < (2025, 8):
            self.held = False
            self.tell(ended, self.slots(), pb.BluetoothDeviceConnectionResponse())
            return
        if self.version <= (2026, 7):
            self.tell(ended)
        self.later(0.05, self.closed, ended)

    def closed(self, ended):
        self.held = False
        self.tell(ended, self.slots())

    def uuid(self, short=None, long=None):
        if short and self.version >= (2025, 8):
            return {"short_uuid": short}
        return {"uuid": list(long or (short << 32 | BASE[0], BASE[1]))}

    def services(self):
        def characteristic(handle, properties, descriptors, **uuid):
            return pb.BluetoothGATTCharacteristic(handle=handle, properties=properties, **self.uuid(**uuid), descriptors=[
                pb.BluetoothGATTDescriptor(handle=h, **self.uuid(short)) for h, short in descriptors])
        gap = pb.BluetoothGATTService(handle=1, **self.uuid(0x1800), characteristics=[characteristic(3, 2, [], short=0x2A00)])
        own = pb.BluetoothGATTService(handle=4, **self.uuid(long=VENDOR), characteristics=[
            characteristic(ECHO, 0x0E, [], short=0xFFF1), characteristic(COUNTER_HANDLE, 0x10, [(CCCD, 0x2902)], long=COUNTER)])
        return [[gap, own]] if self.version >= (2025, 8) else [[gap], [own]]

    def gatt(self, what, m):
        handle = getattr(m, "handle", 0)
        at = {"address": m.address, "handle": handle}
        if not self.up or m.address != self.address:
            self.tell(pb.BluetoothGATTErrorResponse(**at, error=-1))
        elif what == "GetServicesRequest":
            if not self.streamed:
                for batch in self.services():
                    self.tell(pb.BluetoothGATTGetServicesResponse(address=m.address, services=batch))
            self.streamed = True
            self.tell(pb.BluetoothGATTGetServicesDoneResponse(address=m.address))
        elif handle not in self.values:
            self.tell(pb.BluetoothGATTErrorResponse(**at, error=1))
        elif what in ("ReadRequest", "ReadDescriptorRequest"):
            self.tell(pb.BluetoothGATTReadResponse(**at, data=self.values[handle]))
        elif what in ("WriteRequest", "WriteDescriptorRequest"):
            self.values[handle] = m.data
            self.tell(pb.BluetoothGATTWriteResponse(**at))
            if handle == CCCD and m.data == b"\x01\0":
                self.later(0.05, self.tell, pb.BluetoothGATTNotifyDataResponse(address=m.address, handle=COUNTER_HANDLE, data=b"news"))
        elif what == "NotifyRequest":
            self.tell(pb.BluetoothGATTNotifyResponse(**at))


async def main(versions):
    for number, version in enumerate(versions):
        proxy = Proxy(version, number)
        server = await asyncio.start_server(lambda r, w, p=proxy: Session(p, r, w).run(), "127.0.0.1", 0)
        proxy.server = server
        proxy.advertise()
        print(version, server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(sys.argv[1:]))
