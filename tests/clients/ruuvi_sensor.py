"""Runs ruuvitag-sensor, unmodified, until it has decoded some measurements of the simulated RuuviTag, and holds them
against the frames that the simulation sends. The argument is the simulation's peripheral file."""
import asyncio
import json
import struct
import sys

from ruuvitag_sensor.ruuvi import RuuviTagSensor

WANTED = 3


def expected(frame):
    """Data format 5, decoded from the raw advertisement here and not by the library."""
    start = frame.index("ff990405") + 8
    temp, hum, pressure, x, y, z, power, moves, seq = struct.unpack(">hHHhhhHBH", bytes.fromhex(frame[start:start + 34]))
    return {"data_format": 5, "temperature": round(temp * 0.005, 2), "humidity": round(hum * 0.0025, 2), "pressure": round((pressure + 50000) / 100, 2),
            "acceleration_x": x, "acceleration_y": y, "acceleration_z": z, "battery": (power >> 5) + 1600, "tx_power": (power & 31) * 2 - 40,
            "movement_counter": moves, "measurement_sequence_number": seq, "mac": frame[start + 34:start + 46]}


async def main():
    with open(sys.argv[1]) as f:
        tag = next(d for d in json.load(f)["devices"] if d["id"] == "ruuvi")
    sent = {e["measurement_sequence_number"]: e for e in (expected(x["raw_advertisement"]) for x in tag["advertisement"]["frames"])}
    seen = []
    async for mac, data in RuuviTagSensor.get_data_async():
        if mac != tag["address"]:
            sys.exit("a measurement of %s" % mac)
        want = sent.get(data["measurement_sequence_number"])
        got = {k: data.get(k) for k in want or data}
        if got != want:
            sys.exit("decoded %r\nsent    %r" % (got, want))
        if not seen or seen[-1] != data["measurement_sequence_number"]:
            seen.append(data["measurement_sequence_number"])
            if len(seen) == WANTED:
                break
    numbers = sorted(sent)
    for a, b in zip(seen, seen[1:]):
        if numbers[(numbers.index(a) + 1) % len(numbers)] != b:
            sys.exit("measurement %d came after %d" % (b, a))
    print("%d measurements as sent: %r" % (len(seen), seen))


asyncio.run(asyncio.wait_for(main(), 180))
