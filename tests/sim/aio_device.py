"""Uses a device that is more than a proxy with ESPHome's own client library.

Arguments: either "share" HOST PORT KEY NAME of such a device as it is shared under a name, or HOST PORT of the profile "device", HOST PORT of a device that waits for its key, HOST PORT of one that waited
too long. Prints one line per step and exits 0 if all went as it should.
"""

import asyncio
import base64
import os
import sys

from aioesphomeapi import APIClient, LogLevel
from aioesphomeapi.core import APIConnectionError, RequiresEncryptionAPIError, ZERO_NOISE_PSK
from aioesphomeapi.model import (
    BinarySensorInfo, ButtonInfo, DisconnectReason, LightInfo, LightState, SensorInfo, SensorState, SwitchInfo,
)

steps = 0


def check(what, got, want):
    global steps
    if got != want:
        raise SystemExit(f"{what}: got {got!r}, want {want!r}")
    steps += 1
    print(f"ok {what}")


async def until(queue, pick, what):
    async def loop():
        while True:
            got = await queue.get()
            if pick(got):
                return got
    try:
        return await asyncio.wait_for(loop(), 60)
    except asyncio.TimeoutError:
        raise SystemExit(f"{what}: nothing within 60 s") from None


async def device(host, port, key=None, name="node"):
    cli = APIClient(host, port, None, noise_psk=key, client_info="aio device test")
    await cli.connect(login=True)
    info = await cli.device_info()
    check("what it is", (info.name, info.friendly_name, info.suggested_area, info.project_name, info.project_version, info.model),
          (name, "Climate Node", "Living Room", "bluez-esphome.climate-node", "1.2.0", "esp32dev"))
    check("flags", info.bluetooth_proxy_feature_flags_compat(cli.api_version), 0xFF)
    entities, services = await asyncio.wait_for(cli.list_entities_services(), 60)
    check("entities", [(type(e), e.object_id, e.name) for e in entities], [
        (BinarySensorInfo, "motion", "Motion"), (LightInfo, "status_light", "Status Light"),
        (SensorInfo, "temperature", "Temperature"), (SensorInfo, "humidity", "Humidity"),
        (SwitchInfo, "relay", "Relay"), (ButtonInfo, "identify", "Identify"), (ButtonInfo, "restart", "Restart"),
    ])
    check("services", services, [])
    by_id = {e.object_id: e for e in entities}
    temperature, light = by_id["temperature"], by_id["status_light"]
    check("the sensor", (temperature.unit_of_measurement, temperature.device_class, temperature.accuracy_decimals),
          ("°C", "temperature", 1))
    check("the light", [int(m) for m in light.supported_color_modes], [3])

    states, logs = asyncio.Queue(), asyncio.Queue()
    cli.subscribe_states(states.put_nowait)
    first = await until(states, lambda s: isinstance(s, SensorState) and s.key == temperature.key, "temperature")
    check("temperature", 20 < first.state < 23, True)
    cli.subscribe_logs(lambda m: logs.put_nowait(m.message.decode()), LogLevel.LOG_LEVEL_DEBUG)
    cli.light_command(light.key, state=True, brightness=0.25)
    lit = await until(states, lambda s: isinstance(s, LightState) and s.key == light.key and s.brightness == 0.25, "the light")
    check("the light is on", (lit.state, int(lit.color_mode)), (True, 3))
    cli.switch_command(by_id["relay"].key, True)
    await until(states, lambda s: s.key == by_id["relay"].key and s.state is True, "the switch")
    cli.button_command(by_id["identify"].key)
    line = await until(logs, lambda m: "pressed" in m, "the log")
    check("the log", "Identify" in line, True)
    changed = await until(states, lambda s: isinstance(s, SensorState) and s.key == temperature.key and s.state != first.state,
                          "another temperature")
    check("the temperature changes", 20 < changed.state < 23, True)
    # And it still is a proxy.
    heard = asyncio.Event()
    cli.subscribe_bluetooth_le_raw_advertisements(lambda _: heard.set())
    await asyncio.wait_for(heard.wait(), 60)
    check("advertisements", heard.is_set(), True)
    await cli.disconnect()


async def keyless(host, port):
    left = asyncio.Event()

    async def on_stop(_expected):
        left.set()

    cli = APIClient(host, port, None, noise_psk=ZERO_NOISE_PSK)
    await cli.connect(on_stop=on_stop, login=True)
    info = await cli.device_info()
    check("provisionable", (info.api_encryption_supported, info.api_encryption_provisionable), (True, True))
    key = base64.b64encode(os.urandom(32))
    check("key is set", await cli.noise_encryption_set_key(key), True)
    await asyncio.wait_for(left.wait(), 60)
    check("the device asks us to leave", left.is_set(), True)
    plain = APIClient(host, port, None)
    try:
        await plain.connect(login=True)
        raise SystemExit("plaintext: connected")
    except RequiresEncryptionAPIError as e:
        check("plaintext is refused", type(e), RequiresEncryptionAPIError)
    cli = APIClient(host, port, None, noise_psk=key.decode())
    await cli.connect(login=True)
    info = await cli.device_info()
    check("no longer provisionable", (info.api_encryption_supported, info.api_encryption_provisionable), (True, False))
    await cli.disconnect()


async def closed(host, port):
    why = asyncio.Queue()

    cli = APIClient(host, port, None)
    cli.add_connection_closed_callback(lambda event: why.put_nowait(event.reason))
    try:
        await cli.connect(login=True)
        await cli.device_info()
        raise SystemExit("a device that waited too long answered")
    except APIConnectionError as e:
        check("turned away", isinstance(e, APIConnectionError), True)
    check("why", await until(why, lambda _: True, "reason"), DisconnectReason.PROVISIONING_CLOSED)


async def main():
    args = sys.argv[1:]
    if args[0] == "share":
        await device(args[1], int(args[2]), args[3], args[4])
        print(f"{steps} checks")
        return
    await device(args[0], int(args[1]))
    await keyless(args[2], int(args[3]))
    await closed(args[4], int(args[5]))
    print(f"{steps} checks")


asyncio.run(main())
