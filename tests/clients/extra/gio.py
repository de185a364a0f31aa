"""What a desktop program on GIO does: GDBusObjectManagerClient and its proxies. Prints "ok STEP" or "not ok STEP: WHY"."""
import sys

import gi
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib

PULSE, LOCK = "C8:2B:96:10:00:01", "E1:5D:0A:10:00:03"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
ADAPTER, DEVICE, CHAR = "org.bluez.Adapter1", "org.bluez.Device1", "org.bluez.GattCharacteristic1"
failed = 0


class Failed(Exception):
    pass


def need(cond, what):
    if not cond:
        raise Failed(what)


def step(what):
    def run(f):
        global failed
        try:
            r = f()
            print("ok", what, flush=True)
            return r
        except Exception as e:
            failed += 1
            print("not ok %s: %r" % (what, e), flush=True)
    return run


def wait(cond, what, seconds=20):
    over = []
    t = GLib.timeout_add_seconds(seconds, lambda: over.append(1))
    while not cond() and not over:
        GLib.MainContext.default().iteration(True)
    if not over:
        GLib.source_remove(t)
    need(cond(), "waited in vain for " + what)


manager = Gio.DBusObjectManagerClient.new_for_bus_sync(Gio.BusType.SYSTEM, Gio.DBusObjectManagerClientFlags.NONE, "org.bluez", "/", None, None, None)
added = []
manager.connect("object-added", lambda m, o: added.append(o.get_object_path()))
GLib.timeout_add(50, lambda: True)  # wakes wait


def proxies(name):
    return [i for i in (o.get_interface(name) for o in manager.get_objects()) if i]


def prop(proxy, name):
    v = proxy.get_cached_property(name)
    return v.unpack() if v is not None else None


def call(proxy, method, sig="()", *args):
    return proxy.call_sync(method, GLib.Variant(sig, args), Gio.DBusCallFlags.NONE, 30000, None).unpack()


def device(address):
    for d in proxies(DEVICE):
        if prop(d, "Address") == address:
            return d


def char(dev, uuid):
    for c in proxies(CHAR):
        if c.get_object_path().startswith(dev.get_object_path() + "/") and prop(c, "UUID") == uuid:
            return c
    raise Failed("no characteristic " + uuid)


@step("power")
def adapter():
    need(manager.get_name_owner(), "no owner")
    a = proxies(ADAPTER)
    need(len(a) == 1 and prop(a[0], "Powered") is True, "adapters")
    return a[0]


@step("discover")
def discover():
    call(adapter, "SetDiscoveryFilter", "(a{sv})", {"Transport": GLib.Variant("s", "le")})
    call(adapter, "StartDiscovery")
    wait(lambda: device(PULSE) and device(LOCK), "the devices")
    need(device(PULSE).get_object_path() in added, "object-added")
    wait(lambda: prop(adapter, "Discovering"), "Discovering")
    call(adapter, "StopDiscovery")
    wait(lambda: prop(device(PULSE), "RSSI") is None, "RSSI to go")


pulse = device(PULSE)


@step("connect")
def connect():
    call(pulse, "Connect")
    wait(lambda: prop(pulse, "ServicesResolved"), "services")


@step("list")
def services():
    need(len([c for c in proxies(CHAR) if c.get_object_path().startswith(pulse.get_object_path())]) == 16, "characteristics")


@step("read")
def read():
    need(len(call(char(pulse, VENDOR % 6), "ReadValue", "(a{sv})", {})[0]) > 100, "short")


@step("write with response")
def write():
    c = char(pulse, VENDOR % 2)
    call(c, "WriteValue", "(aya{sv})", b"gio", {"type": GLib.Variant("s", "request")})
    need(bytes(call(c, "ReadValue", "(a{sv})", {})[0]) == b"gio", "value")
    wait(lambda: bytes(prop(c, "Value")) == b"gio", "the cached value")


@step("write without response")
def command():
    call(char(pulse, VENDOR % 3), "WriteValue", "(aya{sv})", b"gio", {"type": GLib.Variant("s", "command")})


@step("notify")
def notify():
    c, values = char(pulse, VENDOR % 4), []
    c.connect("g-properties-changed", lambda p, ch, inv: values.append(ch.unpack()["Value"]) if "Value" in ch.unpack() else None)
    call(c, "StartNotify")
    wait(lambda: len(values) >= 4, "four values")
    call(c, "StopNotify")


@step("pair")
def pair():
    lock = device(LOCK)
    call(lock, "Pair")
    wait(lambda: prop(lock, "Paired"), "Paired")
    need(bytes(call(char(lock, "10cc0003-37a1-4d2c-8f10-5b6a79881122"), "ReadValue", "(a{sv})", {})[0]) == b"1234", "value")
    call(lock, "Disconnect")


@step("disconnect")
def disconnect():
    call(pulse, "Disconnect")
    wait(lambda: prop(pulse, "Connected") is False, "Connected=false")


@step("reconnect")
def reconnect():
    call(pulse, "Connect")
    wait(lambda: prop(pulse, "ServicesResolved"), "services")
    need(bytes(call(char(pulse, VENDOR % 2), "ReadValue", "(a{sv})", {})[0]) == b"gio", "value")


@step("remove")
def remove():
    call(adapter, "RemoveDevice", "(o)", pulse.get_object_path())
    wait(lambda: device(PULSE) is None, "the removal")


sys.exit(1 if failed else 0)
