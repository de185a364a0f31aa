"""Checks bluez-esphome against the real Home Assistant; started by run.sh. Options: --only a,b,clash,displaced,slots,device,restarts,full,original; --slow"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import peripherals  # noqa: E402
import whole  # noqa: E402
from hactl import HA, Proc, until  # noqa: E402

HERE, W = Path(__file__).parent, Path("/srv/ha")
BIN, HASS, PY = str(W / "bluez-esphome"), "/opt/hass/bin/hass", "/opt/hass/bin/python"
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="
KEY2 = "enpBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWjAxMjM="
BAD = "AAAAREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="
KITCHEN = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
BUS = f"unix:path={W}/run/bus"
HR, STRAP = "C8:2B:96:20:00:06", "C8:2B:96:20:00:07"
U = "0000{}-0000-1000-8000-00805f9b34fb"
SECRET = "10cc0002-37a1-4d2c-8f10-5b6a79881122"
YAML = """
homeassistant: {name: T, latitude: 0, longitude: 0, elevation: 0, unit_system: metric, time_zone: UTC, country: DE}
api:
websocket_api:
config:
zeroconf:
bluetooth:
diagnostics:
repairs:
system_health:
bzprobe:
logger:
  default: warning
"""
# What Home Assistant says of itself here, without the internet and from pip.
OWN = re.compile("Skipping pip installation|custom integration bzprobe|shielded future|radio_browser|google_translate|metno|components.met|marketplace|bluetoothctl not available|"
                 "Using default MTU value|py.warnings|haffmpeg|FFmpeg|analytics|backup")
results = []


section = [""]


def title(text):
    section[0] = text
    print("==", text, flush=True)


def check(name, ok, detail=""):
    results.append((section[0], name, bool(ok), str(detail)))
    print(f"{'PASS' if ok else 'FAIL'} {name}" + (f" ({detail})" if detail != "" else ""), flush=True)
    return ok


def info(*a):
    print("    ", *a, flush=True)


def yaml(share="listen: 0.0.0.0", key=KEY, proxies=("kitchen", "garage")):
    p = {"kitchen": f'  - {{address: "127.0.0.1:16153", noise_psk: "{KITCHEN}"}}\n', "garage": '  - {address: "127.0.0.1:16154"}\n'}
    psk = f', noise_psk: "{key}"' if key else ""
    return f"bus: private\nstate_dir: {W}/state\nproxies:\n" + "".join(p[x] for x in proxies) + f"share: {{{share}{psk}}}\nlog: {{level: debug}}\n"


def configure(text):
    (W / "d.yaml").write_text(text)
    (W / "d.yaml").chmod(0o600)


def simulate(slots=3):
    return Proc("simulate", [BIN, "simulate", "--peripherals", str(W / "peripherals.json"), "--control", str(W / "ctl"),
                             "--proxy", f"kitchen=127.0.0.1:16153,psk={KITCHEN},slots={slots}", "--proxy", f"garage=127.0.0.1:16154,slots={slots}"], W / "sim.log").start()


def daemon(text=None):
    configure(text or yaml())
    return Proc("daemon", [BIN, "run", "--config", str(W / "d.yaml")], W / "daemon.log", {"RUNTIME_DIRECTORY": str(W / "run")}).start()


def status():
    o = subprocess.run([BIN, "status", "--bus", BUS, "--json"], capture_output=True, text=True)
    return {p["name"]: p for p in json.loads(o.stdout)["proxies"]}


async def hass(name, bus="unix:path=/nonexistent", more=""):
    shutil.rmtree(W / name, ignore_errors=True)
    h = HA(W / name, HASS, {"DBUS_SYSTEM_BUS_ADDRESS": bus})
    h.write(YAML + more, HERE / "bzprobe")
    await h.start()
    return h


async def dbus_client(address, seconds):
    p = await asyncio.create_subprocess_exec(PY, "-B", str(HERE / "dbus_client.py"), address, str(seconds),
                                             env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": BUS}, stdout=-1, stderr=-1)
    out, err = await p.communicate()
    return json.loads(out) if out else {"error": err.decode()[-300:]}


async def add(h, port, *keys):
    """Adds an ESPHome device by hand."""
    r = (await h.flow("esphome", {"host": "127.0.0.1", "port": port}))[-1]
    for k in keys:
        if r["type"] == "form":
            r = await h.answer(r["flow_id"], {"noise_psk": k})
    return r


async def scanning(h, n):
    p = await h.probe()
    s = p["scanners"]
    return len(s) == n and all(x["scanning"] and x["connectable"] and x["age"] < 4 for x in s) and p


def errors(r):
    return [f"{s['step']}: {s['error']}" for s in r["steps"] if s.get("error")] or r.get("error")


def notified(r):
    return next((s["count"] for s in r["steps"] if s["step"] == "notify"), 0)


async def exercise(h, what, **kw):
    r = await h.call("bzprobe", "exercise", address=HR, read=[U.format("2a19"), U.format("2a00")], write=[[U.format("2a39"), "01", True]],
                     notify=U.format("2a37"), seconds=4, **kw)
    check(what, r.get("ok") and not errors(r) and notified(r) >= 6, errors(r) or f"connected in {r['steps'][0]['at']} s, {notified(r)} notifications")
    return r


async def confirm(h):
    done = []
    for f in await h.flows():
        if f["context"]["source"] == "bluetooth" and f["handler"] != "bluetooth":
            done.append((f["handler"], (await h.answer(f["flow_id"], {}))["type"]))
    return done


async def sensors_change(h, what, seconds=30):
    want = ["bthome", "ruuvitag", "temperature_humidity"]
    first = await h.states("sensor.")

    async def changed():
        now = await h.states("sensor.")
        c = [k for k in now if "temperature" in k and k in first and now[k]["state"] not in (first[k]["state"], "unavailable", "unknown")]
        return all(any(w in k for k in c) for w in want) and c
    try:
        t, c = await until("sensors", seconds, changed)
        check(what, True, f"{len(c)} within {t} s")
    except TimeoutError as e:
        check(what, False, e)


def quiet(h, what, allow="Connection error|Can't connect to ESPHome API|failed to restore scan mode after active window"):
    left = [x for x in h.problems() if not OWN.search(x) and not re.search(allow, x)]
    check(what, not left, len(left))
    for x in left:
        info(x[:300])


async def sharing():
    title("a: shared proxies in Home Assistant")
    sim, d = simulate(), daemon()
    h = await hass("a")
    try:
        async def found():
            f = [f for f in await h.flows() if f["handler"] == "esphome"]
            return len(f) == 2 and f
        t, flows = await until("discovery", 40, found)
        check("both are under Discovered", True, [f["context"]["title_placeholders"]["name"] for f in flows])
        for f in flows:
            r = await h.answer(f["flow_id"], {})
            r = await h.answer(r["flow_id"], {"noise_psk": BAD})
            check("a wrong key is refused", r.get("errors") == {"base": "invalid_psk"}, r.get("errors"))
            r = await h.answer(r["flow_id"], {"noise_psk": KEY})
            check("the key adds it", r["type"] == "create_entry", r.get("title"))
        t, p = await until("scanners", 30, lambda: scanning(h, 2))
        check("two connectable scanners hear everything", all(len(s["devices"]) == 7 for s in p["scanners"]) or await until("seven", 10, lambda: scanning(h, 2)), t)
        check("slots are the real ones", all(a["slots"] == 3 and a["free"] == 3 for a in p["allocations"].values()), p["allocations"])
        for d_ in await h.wscmd("config/device_registry/list"):
            if any(c[0] == "mac" for c in d_["connections"]):
                check("device page", d_["manufacturer"] == "Espressif" and d_["model"] == "esp32dev" and re.match(r"\d{4}\.", d_["sw_version"]),
                      (d_["name"], d_["manufacturer"], d_["model"], d_["sw_version"]))
        both = await asyncio.gather(exercise(h, "Home Assistant connects, reads, writes, is notified"), dbus_client(STRAP, 6))
        check("bleak on D-Bus at the same time", both[1].get("count", 0) >= 8 and both[1].get("still"), both[1])
        check("through a shared proxy", both[0]["steps"][0]["source"].endswith("-shared"), both[0]["steps"][0]["source"])

        async def discovered():
            n = {f["handler"] for f in await h.flows()}
            return {"bthome", "ruuvitag_ble", "xiaomi_ble", "govee_ble", "switchbot"} <= n and n
        t, n = await until("devices", 20, discovered) if await soon(discovered, 20) else (0, None)
        check("five devices are discovered", n, t)
        info(await confirm(h))
        await asyncio.sleep(3)
        await sensors_change(h, "sensors change")
        if "switch.bot_0005" in await h.states("switch."):
            events = asyncio.create_task(h.subscribe("bluetooth/subscribe_connection_allocations", 14))
            await asyncio.sleep(1)
            t0 = time.monotonic()
            await h.post("/api/services/switch/turn_on", {"entity_id": "switch.bot_0005"})
            check("a switch is turned on through the proxy", (await h.states("switch."))["switch.bot_0005"]["state"] == "on", f"{time.monotonic() - t0:.1f} s")
            most = max((a["slots"] for e in await events for a in (e if isinstance(e, list) else [e])), default=0)
            check("never more slots than there are", most == 3, most)
        r = await h.call("bzprobe", "exercise", address=HR, read=[SECRET])
        check("unpaired: insufficient encryption", "nsufficient" in str(errors(r)), errors(r))
        r = await h.call("bzprobe", "exercise", address=HR, pair=True, read=[SECRET], unpair=True)
        check("pair, read, unpair", r.get("ok") and not errors(r), errors(r))
        d.stop()
        await asyncio.sleep(3)
        check("while the daemon is down: no scanner", not (await h.probe())["scanners"])
        d.start()
        check("the daemon restarts: back", *await soon(lambda: scanning(h, 2), 90))
        d.stop(signal.SIGKILL)
        await asyncio.sleep(1)
        d.start()
        check("the daemon is killed: back", *await soon(lambda: scanning(h, 2), 90))
        sim.stop()
        await asyncio.sleep(10)
        sim = simulate()
        check("the proxies restart: back", *await soon(lambda: scanning(h, 2), 120))
        await exercise(h, "and connects again")
        configure(yaml("listen: 0.0.0.0, base_port: 17053"))
        d.p.send_signal(signal.SIGHUP)
        await asyncio.sleep(2)
        check("another base_port is followed by mDNS", *await soon(lambda: scanning(h, 2), 120))
        configure(yaml("listen: 0.0.0.0, base_port: 17053", KEY2))
        d.p.send_signal(signal.SIGHUP)

        async def reauth():
            f = [f for f in await h.flows() if f["context"]["source"] == "reauth"]
            return len(f) == 2 and f
        if check("another key is asked for", *await soon(reauth, 120)):
            for f in await reauth():
                await h.answer(f["flow_id"], {"noise_psk": KEY2})
            check("and taken", *await soon(lambda: scanning(h, 2), 60))
        issues = [i["issue_id"] for i in (await h.wscmd("repairs/list_issues"))["issues"] if i["domain"] in ("esphome", "bluetooth")]
        check("no repair issues", not issues, issues)
        check("no update entity", not [k for k in await h.states("update.") if "shared" in k])
        quiet(h, "the log of Home Assistant is quiet")
    finally:
        await h.close()
        d.stop()
        sim.stop()


async def soon(test, seconds):
    try:
        t, _ = await until("", seconds, test)
        return True, f"{t} s"
    except TimeoutError as e:
        return False, e


async def local():
    title("b: the daemon's adapter as Home Assistant's own")
    sim, d = simulate(), daemon(yaml("listen: ''", None))
    await asyncio.sleep(2)
    h = await hass("b", BUS)
    try:
        async def offered():
            return [f for f in await h.flows() if f["handler"] == "bluetooth"]
        if not check("the adapter is discovered", *await soon(offered, 30)):
            return
        for f in await offered():
            r = await h.answer(f["flow_id"], {})
            check("and added", r["type"] == "create_entry", r.get("title"))
        check("its scanner runs", *await soon(lambda: scanning(h, 1), 30))
        s = (await h.probe())["scanners"][0]
        check("passively, as asked", s["current_mode"] == "passive" and s["requested_mode"] == "auto", (s["current_mode"], s["requested_mode"]))
        async def heard():
            return len((await h.probe())["connectable"]) == 7
        check("all devices are heard", *await soon(heard, 30))
        await exercise(h, "connects, reads, writes, is notified")
        r = await h.call("bzprobe", "exercise", address=HR, pair=True, read=[SECRET], unpair=True)
        check("pair, read, unpair", r.get("ok") and not errors(r), errors(r))
        e = (await h.entries("bluetooth"))[0]
        r = await h.post("/api/config/config_entries/options/flow", {"handler": e["entry_id"]})
        field = r["data_schema"][0]["name"]
        await h.post(f"/api/config/config_entries/options/flow/{r['flow_id']}", {field: "active"})

        async def active():
            s = (await h.probe())["scanners"]
            return s and s[0]["current_mode"] == "active" and s[0]["age"] < 4
        check("active scanning", *await soon(active, 30))

        async def discovered():
            n = {f["handler"] for f in await h.flows()}
            return {"bthome", "ruuvitag_ble", "xiaomi_ble", "govee_ble", "switchbot"} <= n
        check("five devices are discovered", *await soon(discovered, 30))
        info(await confirm(h))
        await asyncio.sleep(3)
        await sensors_change(h, "sensors change")
        sim.stop()
        await asyncio.sleep(10)
        sim = simulate()
        check("the proxies restart: back", *await soon(lambda: scanning(h, 1), 60))
        await exercise(h, "and connects again")
        quiet(h, "the log of Home Assistant is quiet")
        if args.slow:
            d.stop()
            await asyncio.sleep(3)
            d.start()
            await asyncio.sleep(5)
            check("daemon and bus restart: Home Assistant's watchdog comes back", *await soon(lambda: scanning(h, 1), 240))
            await exercise(h, "and connects again")
    finally:
        await h.close()
        d.stop()
        sim.stop()


async def clash():
    title("clash: the shared proxy is added while the original is still there")
    sim = simulate()
    h = await hass("clash")
    d = None
    try:
        r = await add(h, 16154)
        await asyncio.sleep(3)
        d = daemon()
        await asyncio.sleep(3)
        original = (await h.entries("esphome"))[0]
        r = await add(h, 16054, BAD, KEY)
        check("the shared one is added", r["type"] == "create_entry", r.get("title"))
        await asyncio.sleep(5)
        line = [x for x in h.problems() if "source must be unique" in x]
        check("two scanners with sources of their own", not line, line[:1])
        await h.req("DELETE", f"/api/config/config_entries/entry/{original['entry_id']}")
        await asyncio.sleep(5)
        check("the original is deleted: the shared one is still heard", *await soon(lambda: scanning(h, 1), 20))
    finally:
        await h.close()
        if d:
            d.stop()
        sim.stop()


async def displaced():
    title("displaced: Home Assistant takes a proxy and lets go of it")
    sim, d = simulate(), daemon()
    await asyncio.sleep(2)
    h = await hass("displaced")
    try:
        await add(h, 16154)
        e = (await h.entries("esphome"))[0]
        ok, _ = await soon(lambda: status()["garage"]["state"] == "displaced", 40)
        check("it is seen", ok, status()["garage"]["state"])
        b = [x for x in await h.entries("bluetooth")]
        if b:
            await h.wscmd("config_entries/disable", entry_id=b[0]["entry_id"], disabled_by="user")
            await h.post(f"/api/config/config_entries/entry/{e['entry_id']}/reload")
            await asyncio.sleep(5)
            s = [x for x in (await h.probe())["scanners"] if x["age"] < 4]
            info("Bluetooth entry disabled, ESPHome entry reloaded: Home Assistant", "still subscribes" if s else "lets go", [x["name"] for x in s])
        await h.wscmd("config_entries/disable", entry_id=e["entry_id"], disabled_by="user")
        check("Home Assistant lets go: ours again by itself", *await soon(lambda: status()["garage"]["state"] == "online", 60))
        if status()["garage"]["state"] != "online":
            d.p.send_signal(signal.SIGHUP)
            check("or at a reload", *await soon(lambda: status()["garage"]["state"] == "online", 30))
    finally:
        await h.close()
        d.stop()
        sim.stop()


async def slots():
    title("slots: D-Bus programs have them all")
    sim, d = simulate(slots=1), daemon(yaml(proxies=("kitchen",)))
    await asyncio.sleep(2)
    h = await hass("slots")
    try:
        await add(h, 16053, BAD, KEY)
        await until("scanner", 20, lambda: scanning(h, 1))
        hold = asyncio.create_task(dbus_client(STRAP, 25))
        await asyncio.sleep(5)
        a = list((await h.probe())["allocations"].values())
        check("Home Assistant sees a full proxy: one slot, none free", a and a[0]["slots"] == 1 and a[0]["free"] == 0, a)
        check("the D-Bus program keeps its link", (await hold).get("still"))
        await exercise(h, "and then Home Assistant has it", attempts=4)
    finally:
        await h.close()
        d.stop()
        sim.stop()


async def main():
    global args
    ap = argparse.ArgumentParser()
    ap.add_argument("--only", default="a,b,clash,displaced,slots,device,restarts,full,original")
    ap.add_argument("--slow", action="store_true")
    args = ap.parse_args()
    (W / "peripherals.json").write_text(json.dumps(peripherals.peripherals()))
    import homeassistant.const as c
    from importlib.metadata import version
    versions = {p: version(p) for p in ("aioesphomeapi", "bleak-esphome", "habluetooth", "bleak", "dbus-fast")}
    print("Home Assistant", c.__version__, "Python", sys.version.split()[0], versions)
    print(subprocess.run([BIN, "version"], capture_output=True, text=True).stdout.strip())
    for name in args.only.split(","):
        try:
            await {"a": sharing, "b": local, "clash": clash, "displaced": displaced, "slots": slots, **whole.checks(sys.modules["__main__"])}[name]()
        except Exception as e:
            check(f"{name} runs to its end", False, repr(e)[:400])
    passed = sum(ok for _, _, ok, _ in results)
    print(f"{passed} passed, {len(results) - passed} failed")
    (W / "page.md").write_text(page(c.__version__, versions, passed))
    return passed < len(results)


def page(home_assistant, versions, passed):
    """What was seen, for docs/evidence."""
    out = ["# Home Assistant with shared proxies", "",
           "Written by `make test-home-assistant`: the real Home Assistant, with simulated proxies, in a network namespace of its own.", "",
           f"Home Assistant {home_assistant}, " + ", ".join(f"{k} {v}" for k, v in versions.items()) + f": {passed} of {len(results)} checks passed."]
    last = None
    for where, name, ok, detail in results:
        if where != last:
            out += ["", "## " + where[:1].upper() + where[1:], "", "| check | passed | seen |", "| --- | --- | --- |"]
            last = where
        detail = re.sub(r"\s+", " ", detail).replace("|", "\\|").replace(str(W), "…")
        out.append(f"| {name} | {'yes' if ok else '**no**'} | {detail[:160] if detail not in ('[]', 'None') else ''} |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
