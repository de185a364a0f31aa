"""The device's side of a native-API session, written on aioesphomeapi's own protobuf classes and message numbers.

Argument: the key as base64, or "-" for plaintext. Prints "port N", serves one client, checks all that the client does
and exits 0 if it was right.
"""

import asyncio
import base64
import sys

from aioesphomeapi import api_pb2 as pb
from aioesphomeapi.core import MESSAGE_TYPE_TO_PROTO
from noise.connection import NoiseConnection

NUMBER = {cls: number for number, cls in MESSAGE_TYPE_TO_PROTO.items()}
ADDRESS = 0xAABBCCDDEEFF
UUID = (0x0000180D00001000, 0x800000805F9B34FB)
steps = 0


def check(what, got, want):
    global steps
    if got != want:
        raise SystemExit(f"{what}: got {got!r}, want {want!r}")
    steps += 1


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


class Plain:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def handshake(self):
        pass

    async def varint(self):
        n = shift = 0
        while True:
            b = (await self.reader.readexactly(1))[0]
            n |= (b & 0x7F) << shift
            shift += 7
            if not b & 0x80:
                return n

    async def read(self):
        check("preamble", await self.reader.readexactly(1), b"\0")
        size = await self.varint()
        number = await self.varint()
        return number, await self.reader.readexactly(size)

    def frame(self, number, payload):
        return b"\0" + varint(len(payload)) + varint(number) + payload


class Noise:
    def __init__(self, reader, writer, key):
        self.reader, self.writer, self.key = reader, writer, key

    async def body(self):
        head = await self.reader.readexactly(3)
        check("indicator", head[0], 1)
        return await self.reader.readexactly(head[1] << 8 | head[2])

    @staticmethod
    def wrap(body):
        return bytes([1, len(body) >> 8, len(body) & 0xFF]) + body

    async def handshake(self):
        hello = await self.body()
        check("client hello", hello, b"")
        self.writer.write(self.wrap(b"\x01aio\x00aabbccddee01\x00"))
        noise = self.noise = NoiseConnection.from_name(b"Noise_NNpsk0_25519_ChaChaPoly_SHA256")
        noise.set_as_responder()
        noise.set_psks(self.key)
        noise.set_prologue(b"NoiseAPIInit" + len(hello).to_bytes(2, "big") + hello)
        noise.start_handshake()
        first = await self.body()
        check("handshake type", first[0], 0)
        check("handshake payload", bytes(noise.read_message(first[1:])), b"")
        self.writer.write(self.wrap(b"\0" + bytes(noise.write_message())))
        check("handshake", noise.handshake_finished, True)

    async def read(self):
        plain = bytes(self.noise.decrypt(await self.body()))
        number, size = plain[0] << 8 | plain[1], plain[2] << 8 | plain[3]
        check("length in the frame", size, len(plain) - 4)
        return number, plain[4:]

    def frame(self, number, payload):
        head = number.to_bytes(2, "big") + len(payload).to_bytes(2, "big")
        return self.wrap(bytes(self.noise.encrypt(head + payload)))


class Session:
    def __init__(self, wire):
        self.wire = wire

    async def take(self, cls):
        """The next message, which has to be of that class."""
        number, payload = await asyncio.wait_for(self.wire.read(), 10)
        got = MESSAGE_TYPE_TO_PROTO.get(number)
        check("message", got and got.__name__, cls.__name__)
        return cls.FromString(payload)

    def send(self, *messages):
        self.wire.writer.write(b"".join(self.wire.frame(NUMBER[type(m)], m.SerializeToString()) for m in messages))

    def raw(self, number, payload):
        self.wire.writer.write(self.wire.frame(number, payload))

    async def run(self):
        await self.wire.handshake()
        hello = await self.take(pb.HelloRequest)
        check("client", hello.client_info, "bluez-esphome test")
        check("API", (hello.api_version_major, hello.api_version_minor), (1, 19))
        check("password", (await self.take(pb.AuthenticationRequest)).password, "")
        # A message that only exists in another version, in the middle of the bring-up.
        self.raw(999, b"\x08\x01")
        self.send(pb.HelloResponse(api_version_major=1, api_version_minor=19, server_info="aio", name="aio"))
        await self.take(pb.DeviceInfoRequest)
        self.send(pb.GetTimeRequest())
        self.send(pb.DeviceInfoResponse(
            name="aio", friendly_name="Aïo", mac_address="AA:BB:CC:DD:EE:01", bluetooth_mac_address="AA:BB:CC:DD:EE:03",
            esphome_version="2026.7.4", model="test", manufacturer="Python", bluetooth_proxy_feature_flags=0xFF))
        check("time", (await self.take(pb.GetTimeResponse)).epoch_seconds > 1_700_000_000, True)
        await self.take(pb.SubscribeBluetoothConnectionsFreeRequest)
        self.send(pb.BluetoothConnectionsFreeResponse(free=3, limit=3))
        check("flags", (await self.take(pb.SubscribeBluetoothLEAdvertisementsRequest)).flags, 1)
        self.send(pb.BluetoothScannerStateResponse(state=2, mode=0, configured_mode=1))
        self.send(pb.BluetoothLERawAdvertisementsResponse(advertisements=[
            pb.BluetoothLERawAdvertisement(address=ADDRESS, rssi=-71, address_type=1, data=bytes.fromhex("020106")),
            pb.BluetoothLERawAdvertisement(address=0x112233445566, rssi=-3, data=b""),
        ]))
        await self.link()
        self.send(pb.PingRequest())
        await self.take(pb.PingResponse)
        self.send(pb.DisconnectRequest())
        await self.take(pb.DisconnectResponse)

    async def link(self):
        clear = await self.take(pb.BluetoothDeviceRequest)
        check("clear the cache", (clear.address, clear.request_type), (ADDRESS, 6))
        request = await self.take(pb.BluetoothDeviceRequest)  # which does not wait for the answer
        self.send(pb.BluetoothDeviceClearCacheResponse(address=ADDRESS, success=True))
        check("connect", (request.address, request.request_type, request.has_address_type, request.address_type), (ADDRESS, 5, True, 1))
        self.send(pb.BluetoothConnectionsFreeResponse(free=2, limit=3, allocated=[ADDRESS]),
                  pb.BluetoothDeviceConnectionResponse(address=ADDRESS, connected=True, mtu=247))
        check("services", (await self.take(pb.BluetoothGATTGetServicesRequest)).address, ADDRESS)
        characteristic = pb.BluetoothGATTCharacteristic(
            uuid=[0x00002A3700001000, 0x800000805F9B34FB], handle=17, properties=0x1A,
            descriptors=[pb.BluetoothGATTDescriptor(short_uuid=0x2902, handle=18)])
        self.send(pb.BluetoothGATTGetServicesResponse(address=ADDRESS, services=[
            pb.BluetoothGATTService(uuid=list(UUID), handle=16, characteristics=[characteristic])]),
            pb.BluetoothGATTGetServicesResponse(address=ADDRESS, services=[pb.BluetoothGATTService(short_uuid=0x180F, handle=32)]),
            pb.BluetoothGATTGetServicesDoneResponse(address=ADDRESS))
        read = await self.take(pb.BluetoothGATTReadRequest)
        check("read", (read.address, read.handle), (ADDRESS, 17))
        self.send(pb.BluetoothGATTReadResponse(address=ADDRESS, handle=17, data=b"\0" * 200))
        write = await self.take(pb.BluetoothGATTWriteRequest)
        check("write", (write.handle, write.response, write.data), (17, True, b"\x01\x02"))
        self.send(pb.BluetoothGATTErrorResponse(address=ADDRESS, handle=17, error=3))
        notify = await self.take(pb.BluetoothGATTNotifyRequest)
        check("notify", (notify.handle, notify.enable), (17, True))
        self.send(pb.BluetoothGATTNotifyResponse(address=ADDRESS, handle=17))
        cccd = await self.take(pb.BluetoothGATTWriteDescriptorRequest)
        check("CCCD", (cccd.handle, cccd.data), (18, b"\x01\x00"))
        self.send(pb.BluetoothGATTWriteResponse(address=ADDRESS, handle=18),
                  pb.BluetoothGATTNotifyDataResponse(address=ADDRESS, handle=17, data=b"\x16\x48"))
        disconnect = await self.take(pb.BluetoothDeviceRequest)
        check("disconnect", (disconnect.address, disconnect.request_type), (ADDRESS, 1))
        self.send(pb.BluetoothDeviceConnectionResponse(address=ADDRESS, connected=False, error=0x16),
                  pb.BluetoothConnectionsFreeResponse(free=3, limit=3))


async def main(key):
    done = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        wire = Plain(reader, writer) if key == "-" else Noise(reader, writer, base64.b64decode(key))
        try:
            await Session(wire).run()
            await writer.drain()
            check("the client closes", await asyncio.wait_for(reader.read(), 10), b"")
            done.set_result(None)
        except BaseException as e:
            done.set_exception(RuntimeError(str(e) or repr(e)))
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.wait_for(done, 30)
    server.close()
    print(f"{steps} checks")


asyncio.run(main(sys.argv[1]))
