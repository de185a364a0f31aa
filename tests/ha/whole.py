"""Checks that a shared proxy is the whole device for Home Assistant: sensors, lights, buttons; identities; restarts; a device that is full."""

import asyncio
import itertools
import json
import time
from datetime import datetime

from aioesphomeapi import APIClient, LogLevel

PORT = 16155  # of the simulated device
KINDS = {"binary_sensor", "light", "sensor", "switch", "button"}
c = None  # check.py


def simulate(announce=False):
    listen = "0.0.0.0" if announce else "127.0.0.1"
    args = [c.BIN, "simulate", "--peripherals", str(c.W / "peripherals.json"), "--control", str(c.W / "ctl"),
            "--proxy", f"node={listen}:{PORT},psk={c.KITCHEN},profile=device,friendly=Climate Node"]
    return c.Proc("simulate", args + (["--mdns"] if announce else []), c.W / "sim.log").start()


def yaml(share="listen: 0.0.0.0", key=True):
    return (f"bus: private\nstate_dir: {c.W}/state-node\nproxies:\n  - {{address: \"127.0.0.1:{PORT}\", noise_psk: \"{c.KITCHEN}\"}}\n"
            "share: {" + share + (f', noise_psk: "{c.KEY}"' if key else "") + "}\nlog: {level: debug}\n")


def shared():
    o = c.subprocess.run([c.BIN, "status", "--bus", c.BUS, "--json"], capture_output=True, text=True)
    return json.loads(o.stdout).get("shared") or []


class Direct:
    """A client of the device itself, which sees what reaches it and changes things there."""

    async def start(self):
        self.cli = APIClient("127.0.0.1", PORT, None, noise_psk=c.KITCHEN, client_info="direct")
        await self.cli.connect(login=True)
        self.keys = {e.object_id: e.key for e in (await self.cli.list_entities_services())[0]}
        self.states, self.logs = {}, []
        self.cli.subscribe_states(lambda s: self.states.__setitem__(s.key, s))
        self.cli.subscribe_logs(lambda m: self.logs.append(m.message.decode(errors="replace")), LogLevel.LOG_LEVEL_VERY_VERBOSE)
        return self

    async def stop(self):
        await self.cli.disconnect(force=True)


async def registry(h):
    """The entities of ESPHome: unique id by entity id."""
    return {e["entity_id"]: e["unique_id"] for e in await h.wscmd("config/entity_registry/list") if e["platform"] == "esphome"}


async def alive(h):
    """The entities of ESPHome that have a state, if all of them do that can."""
    ids, states = await registry(h), await h.states()
    have = [i for i in ids if i in states and states[i]["state"] not in ("unavailable", "unknown" if not i.startswith("button.") else "-")]
    return len(ids) >= 6 and len(have) == len(ids) and have


async def pick(h, kind, word=""):
    return next(i for i in await registry(h) if i.startswith(kind + ".") and word in i)


async def changes(h, direct, times=4):
    """Changes the relay at the device and measures when Home Assistant has it."""
    relay, worst = await pick(h, "switch"), 0.0
    events = asyncio.create_task(h.subscribe("subscribe_events", 2.5 * times + 2, event_type="state_changed"))
    await asyncio.sleep(1)
    begun = []
    for i in range(times):
        begun.append(time.time())
        direct.cli.switch_command(direct.keys["relay"], i % 2 == 0)
        await asyncio.sleep(2)
    seen = [datetime.fromisoformat(e["time_fired"]).timestamp() for e in await events if e["data"]["entity_id"] == relay]
    for t in begun:
        worst = max(worst, min([s - t for s in seen if s >= t - 0.01], default=99))
    return round(worst, 3)


async def commands(h, direct):
    light, button = await pick(h, "light"), await pick(h, "button", "identify")
    await h.post("/api/services/light/turn_on", {"entity_id": light, "brightness": 51})
    await h.post("/api/services/button/press", {"entity_id": button})
    await asyncio.sleep(1)
    lit = direct.states.get(direct.keys["status_light"])
    pressed = any("pressed" in x for x in direct.logs)
    return bool(lit and round(lit.brightness, 1) == 0.2 and pressed), f"brightness {lit and lit.brightness:.2f}, button {'pressed' if pressed else 'not pressed'}"


async def add_found(h, key):
    async def found():
        return [f for f in await h.flows() if f["handler"] == "esphome"]
    _, flows = await c.until("discovery", 60, found)
    r = await h.answer(flows[0]["flow_id"], {})
    return await h.answer(r["flow_id"], {"noise_psk": key})


async def device():
    c.title("device: a proxy with sensors, a light, a switch and buttons")
    sim, d = simulate(), c.daemon(yaml())
    h = await c.hass("device")
    direct = None
    try:
        r = await add_found(h, c.KEY)
        c.check("it is added", r["type"] == "create_entry", r.get("title"))
        c.check("all of its entities have a state", *await c.soon(lambda: alive(h), 30))
        kinds = {i.split(".")[0] for i in await registry(h)}
        c.check("a sensor, a light, a switch and buttons", KINDS <= kinds, sorted(kinds))
        c.check("a connectable scanner", *await c.soon(lambda: c.scanning(h, 1), 30))
        for dev in await h.wscmd("config/device_registry/list"):
            if any(x[0] == "mac" for x in dev["connections"]):
                c.check("device page: the device's project, version and area", "climate-node" in (dev["model"] or "") and dev["sw_version"].startswith("1.2.0 (ESPHome ")
                        and dev["area_id"], (dev["name"], dev["manufacturer"], dev["model"], dev["sw_version"], dev["area_id"]))
        direct = await Direct().start()
        worst, ok, _, bus = await asyncio.gather(changes(h, direct), commands(h, direct), c.exercise(h, "meanwhile Home Assistant uses its Bluetooth"),
                                                 c.dbus_client(c.STRAP, 8))
        c.check("meanwhile a program on D-Bus does", bus.get("count", 0) >= 8 and bus.get("still"), bus)
        c.check("a change at the device is in Home Assistant within 1 s", worst <= 1, f"{worst} s at most")
        c.check("a light and a button reach the device", *ok)
        c.check("and all entities are still there", await alive(h))
        hosts = shared()[0]["hosts"]
        c.check("status: the host has both", [x["has"] for x in hosts] == ["both"], hosts)
        c.quiet(h, "the log of Home Assistant is quiet")
    finally:
        if direct:
            await direct.stop()
        await h.close()
        d.stop()
        sim.stop()


async def restarts():
    c.title("restarts: of device, daemon and Home Assistant in every order")
    parts = {"device": simulate(), "daemon": c.daemon(yaml())}
    h = await c.hass("restarts")
    try:
        await add_found(h, c.KEY)
        await c.until("entities", 60, lambda: alive(h))
        before = await registry(h)
        for order in itertools.permutations(("device", "daemon", "Home Assistant")):
            await h.close()
            for p in parts.values():
                p.stop()
            for what in order:
                if what == "Home Assistant":
                    await h.start()
                else:
                    parts[what].start()
                await asyncio.sleep(2)

            async def back():
                return await alive(h) and await c.scanning(h, 1)
            c.check("started in the order " + ", ".join(order) + ": back without help", *await c.soon(back, 120))
        c.check("with the same entities", await registry(h) == before)
    finally:
        await h.close()
        for p in parts.values():
            p.stop()


async def full():
    c.title("full: the device has no place for another client")
    sim, d = simulate(), c.daemon(yaml())
    h = await c.hass("full")
    others = []
    try:
        await add_found(h, c.KEY)
        await c.until("entities", 60, lambda: alive(h))
        before = await registry(h)
        await h.close()
        await asyncio.sleep(2)
        others = [await Direct().start() for _ in range(4)]
        await h.start()
        c.check("Bluetooth goes on", *await c.soon(lambda: c.scanning(h, 1), 60))
        c.check("no entity is lost", await registry(h) == before, len(await registry(h)))
        why = [x.get("refused", "") for s in shared() for x in s["hosts"]]
        c.check("status says why", any("no further API client" in x for x in why), why)
        await c.exercise(h, "and connects")
        await others.pop().stop()
        c.check("a place is free: the entities are back by themselves", *await c.soon(lambda: alive(h), 120))
    finally:
        for o in others:
            await o.stop()
        await h.close()
        d.stop()
        sim.stop()


def stored(h):
    """Where Home Assistant's entry of ESPHome points to."""
    text = (h.config / ".storage" / "core.config_entries").read_text()
    e = next(e for e in json.loads(text)["data"]["entries"] if e["domain"] == "esphome")
    return e["data"]["host"], e["data"]["port"], e["entry_id"]


async def reconfigure(h, entry_id, host, port):
    r = await h.post("/api/config/config_entries/flow", {"handler": "esphome", "entry_id": entry_id, "show_advanced_options": True})
    return await h.answer(r["flow_id"], {"host": host, "port": port})


async def original():
    c.title("original: an entry of Home Assistant is moved to the shared proxy and back")
    sim = simulate(announce=True)
    h = await c.hass("original", more="recorder:\nhistory:\n")
    d = None
    try:
        r = await add_found(h, c.KITCHEN)
        c.check("Home Assistant has the device itself", r["type"] == "create_entry", r.get("title"))
        await c.until("entities", 60, lambda: alive(h))
        sensor = await pick(h, "sensor", "temperature")
        await h.wscmd("config/entity_registry/update", entity_id=sensor, new_entity_id="sensor.my_own_name")
        await asyncio.sleep(12)  # something to remember
        ids, entry = await registry(h), stored(h)[2]
        d = c.daemon(yaml("listen: 0.0.0.0, identity: original", key=False))

        async def offered():
            return shared() and shared()[0]["address"]
        c.check("the shared proxy is there while Home Assistant still has the device", *await c.soon(offered, 30))
        r = await reconfigure(h, entry, "127.0.0.1", 16053)
        c.check("Reconfigure takes address and port", r.get("reason") == "reconfigure_successful", r.get("reason") or r)

        async def ours():
            return await alive(h) and await c.scanning(h, 1) and c.status()["node"]["state"] == "online"
        c.check("entities and Bluetooth come through the daemon", *await c.soon(ours, 60))
        c.check("with the same entity ids, the changed one too", await registry(h) == ids and "sensor.my_own_name" in ids)
        await asyncio.sleep(12)

        async def remembers():
            past = await h.get("/api/history/period?filter_entity_id=sensor.my_own_name&minimal_response")
            return past and len({x["state"] for x in past[0]} - {"unavailable", "unknown"}) >= 2 and len(past[0])
        c.check("and their history", *await c.soon(remembers, 30))
        await c.exercise(h, "Home Assistant connects")
        await h.close()
        await h.start()
        c.check("Home Assistant restarts: still through the daemon", *await c.soon(ours, 60))
        c.check("though it discovers the original", stored(h)[:2] == ("127.0.0.1", 16053), stored(h)[:2])

        def restart_daemon():
            d.stop()
            return 15, d.start

        def restart_device():
            nonlocal sim
            sim.stop()

            def again():
                nonlocal sim
                sim = simulate(announce=announced)
            return 3, again

        async def back(what, restart, may_move=True):
            seconds, again = restart()
            await asyncio.sleep(seconds)
            again()
            # Home Assistant may take an entry that it cannot reach to wherever it discovers the device: at once, or when it hears of it again.
            ok, t = await c.soon(ours, 30)
            moved = stored(h)[:2]
            c.info(what, "restarted: the entry points to", moved, "and all is back" if ok else "and not all is back", t)
            if may_move and moved != ("127.0.0.1", 16053):
                await reconfigure(h, entry, "127.0.0.1", 16053)
                what += ", after Reconfigure"
            c.check("restart of the " + what + ": through the daemon", *await c.soon(ours, 120))

        announced = True
        await back("daemon", restart_daemon)
        await back("device", restart_device)
        c.check("with the same entity ids", await registry(h) == ids)
        announced = False
        await back("device, which no longer announces itself", restart_device)  # Home Assistant remembers announcements for some time
        await back("daemon", restart_daemon, may_move=False)
        await back("device", restart_device, may_move=False)
        c.check("the entry stays where it was put", stored(h)[:2] == ("127.0.0.1", 16053), stored(h)[:2])
        c.check("with the same entity ids", await registry(h) == ids)
        r = await reconfigure(h, entry, "127.0.0.1", PORT)
        d.stop()

        async def direct():
            return await alive(h) and await c.scanning(h, 1) and stored(h)[1] == PORT
        c.check("and back to the device itself", *await c.soon(direct, 60))
        c.check("with the same entity ids", await registry(h) == ids)
    finally:
        await h.close()
        if d:
            d.stop()
        sim.stop()


def checks(of):
    """The checks by name; of is check.py."""
    global c
    c = of
    return {"device": device, "restarts": restarts, "full": full, "original": original}
