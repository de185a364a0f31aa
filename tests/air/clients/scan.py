"""bleak's active and passive scanning on one adapter: scan.py ADAPTER ADDRESS OTHER.

ADDRESS sends flags 06 and a name in its scan response; OTHER is in the air and does not match the pattern.
"""
import asyncio
import sys

from bleak import BleakScanner
from bleak.args.bluez import OrPattern
from bleak.assigned_numbers import AdvertisementDataType

ADAPTER, ADDRESS, OTHER = sys.argv[1:]


async def heard(**how):
    """What a scanner hears until it has heard ADDRESS three times."""
    seen, enough = {}, asyncio.Event()

    def callback(device, adv):
        seen.setdefault(device.address, []).append((device, adv))
        if len(seen.get(ADDRESS, [])) >= how["times"]:
            enough.set()

    async with BleakScanner(callback, scanning_mode=how["mode"], service_uuids=how.get("services"),
                            bluez={"adapter": ADAPTER, "or_patterns": how.get("patterns", [])}):
        await asyncio.wait_for(enough.wait(), 20)
    return seen


async def main():
    flags = OrPattern(0, AdvertisementDataType.FLAGS, b"\x06")
    seen = await heard(mode="active", services=["0000180d-0000-1000-8000-00805f9b34fb"], times=1)
    device, adv = seen[ADDRESS][-1]
    print("active", device.address, adv.rssi, adv.local_name, OTHER in seen, device.details["path"], flush=True)
    seen = await heard(mode="passive", patterns=[flags], times=1)
    device, adv = seen[ADDRESS][-1]
    print("passive", device.address, adv.rssi, sorted(adv.manufacturer_data), OTHER in seen, device.details["path"], flush=True)


asyncio.run(main())
