"""What a program on dbus-python does, in the manner of the scripts that many projects carry: ObjectManager, a GLib main loop,
an agent of its own. Prints "ok STEP" or "not ok STEP: WHY"."""
import sys

import dbus
import dbus.exceptions
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
loop = GLib.MainLoop()
PULSE, LOCK = "C8:2B:96:10:00:01", "E1:5D:0A:10:00:03"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
BLUEZ, ADAPTER, DEVICE, CHAR = "org.bluez", "org.bluez.Adapter1", "org.bluez.Device1", "org.bluez.GattCharacteristic1"
PROPERTIES, MANAGER = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager"
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
    ticks = [0]

    def tick():
        ticks[0] += 1
        if cond() or ticks[0] > seconds * 50:
            loop.quit()
            return False
        return True

    GLib.timeout_add(20, tick)
    loop.run()
    need(cond(), "waited in vain for " + what)


def iface(path, name):
    return dbus.Interface(bus.get_object(BLUEZ, path), name)


def get(path, interface, prop):
    return iface(path, PROPERTIES).Get(interface, prop)


def objects():
    return iface("/", MANAGER).GetManagedObjects()


def device(address):
    for path, ifaces in objects().items():
        if ifaces.get(DEVICE, {}).get("Address") == address:
            return path
    return None


def char(dev, uuid):
    for path, ifaces in objects().items():
        if path.startswith(dev + "/") and ifaces.get(CHAR, {}).get("UUID") == uuid:
            return path
    raise Failed("no characteristic " + uuid)


def resolved(path):
    wait(lambda: get(path, DEVICE, "ServicesResolved"), "services")


class Agent(dbus.service.Object):
    """Answers whatever it is asked."""

    @dbus.service.method("org.bluez.Agent1", in_signature="", out_signature="")
    def Release(self):
        pass

    @dbus.service.method("org.bluez.Agent1", in_signature="ou", out_signature="")
    def RequestConfirmation(self, device, passkey):
        pass

    @dbus.service.method("org.bluez.Agent1", in_signature="o", out_signature="")
    def RequestAuthorization(self, device):
        pass

    @dbus.service.method("org.bluez.Agent1", in_signature="", out_signature="")
    def Cancel(self):
        pass


hci = "/org/bluez/hci0"
adapter = iface(hci, ADAPTER)


@step("power")
def power():
    need([p for p, i in objects().items() if ADAPTER in i] == [hci], "adapters")
    props = iface(hci, PROPERTIES)
    props.Set(ADAPTER, "Powered", dbus.Boolean(True))
    need(props.GetAll(ADAPTER)["Powered"], "not powered")
    need(list(adapter.GetDiscoveryFilters())[:2] == ["UUIDs", "RSSI"], "filters")


@step("discover")
def discover():
    added, changed = [], []
    bus.add_signal_receiver(lambda p, i: added.append(p), dbus_interface=MANAGER, signal_name="InterfacesAdded", bus_name=BLUEZ)
    bus.add_signal_receiver(lambda i, c, inv, path=None: changed.append(path), dbus_interface=PROPERTIES, signal_name="PropertiesChanged",
                            arg0=DEVICE, path_keyword="path")
    adapter.SetDiscoveryFilter({"Transport": "le", "RSSI": dbus.Int16(-100), "DuplicateData": True})
    adapter.StartDiscovery()
    wait(lambda: device(PULSE) and device(LOCK), "the devices")
    wait(lambda: len(changed) > 20, "changes")
    need(any(p.endswith("dev_C8_2B_96_10_00_01") for p in added), "InterfacesAdded")
    need(get(hci, ADAPTER, "Discovering"), "Discovering")


if sys.argv[1:] == ["hold"]:
    path = device(PULSE)
    iface(path, DEVICE).Connect()
    resolved(path)
    iface(char(path, VENDOR % 4), CHAR).StartNotify()
    print("hold", flush=True)
    loop.run()

adapter.StopDiscovery()
pulse = device(PULSE)


@step("connect")
def connect():
    iface(pulse, DEVICE).Connect()
    resolved(pulse)
    need(get(pulse, DEVICE, "Connected"), "not connected")


@step("list")
def services():
    mine = [i for p, i in objects().items() if p.startswith(pulse + "/")]
    need(sum("org.bluez.GattService1" in i for i in mine) == 6, "services")
    need(sum(CHAR in i for i in mine) == 16, "characteristics")
    need(sum("org.bluez.GattDescriptor1" in i for i in mine) > 8, "descriptors")


@step("read")
def read():
    need(len(iface(char(pulse, VENDOR % 6), CHAR).ReadValue({})) > 100, "short")


@step("write with response")
def write():
    c = iface(char(pulse, VENDOR % 2), CHAR)
    c.WriteValue(dbus.ByteArray(b"dbus"), {"type": "request"})
    c.WriteValue(dbus.ByteArray(b"dbus-python"), {})
    need(bytes(c.ReadValue(dbus.Dictionary({}, signature="sv"))) == b"dbus-python", "value")


@step("write without response")
def command():
    iface(char(pulse, VENDOR % 3), CHAR).WriteValue(dbus.ByteArray(b"x"), {"type": "command"})


@step("notify")
def notify():
    path, values = char(pulse, VENDOR % 4), []
    m = bus.add_signal_receiver(lambda i, c, inv: values.append(bytes(c["Value"])) if "Value" in c else None, dbus_interface=PROPERTIES,
                                signal_name="PropertiesChanged", path=path)
    iface(path, CHAR).StartNotify()
    wait(lambda: len(values) >= 4, "four values")
    need(get(path, CHAR, "Notifying"), "Notifying")
    iface(path, CHAR).StopNotify()
    m.remove()


@step("AcquireNotify")
def acquire():
    import os
    import select
    fd, mtu = iface(char(pulse, VENDOR % 4), CHAR).AcquireNotify({})
    fd = fd.take()
    for _ in range(3):
        need(select.select([fd], [], [], 5)[0], "no packet")
        need(len(os.read(fd, mtu)) == 4, "packet")
    os.close(fd)


@step("pair")
def pair():
    Agent(bus, "/test/agent")
    manager = iface("/org/bluez", "org.bluez.AgentManager1")
    manager.RegisterAgent("/test/agent", "KeyboardDisplay")
    manager.RequestDefaultAgent("/test/agent")
    lock, done = device(LOCK), []
    iface(lock, DEVICE).Pair(reply_handler=lambda: done.append(None), error_handler=done.append, timeout=60)
    wait(lambda: done, "the pairing")
    need(done == [None], done)
    iface(lock, PROPERTIES).Set(DEVICE, "Trusted", True)
    value = iface(char(lock, "10cc0003-37a1-4d2c-8f10-5b6a79881122"), CHAR).ReadValue({})
    need(bytes(value) == b"1234", "value")
    iface(lock, DEVICE).Disconnect()
    manager.UnregisterAgent("/test/agent")


@step("errors")
def errors():
    for f, name in ((lambda: iface(pulse, DEVICE).NoSuchMethod(), "org.freedesktop.DBus.Error.UnknownMethod"),
                    (lambda: adapter.StopDiscovery(), "org.bluez.Error.Failed"),
                    (lambda: iface(hci + "/dev_00_00_00_00_00_00", DEVICE).Connect(), "org.freedesktop.DBus.Error.UnknownObject"),
                    (lambda: get(pulse, DEVICE, "Icon"), "org.freedesktop.DBus.Error.InvalidArgs")):
        try:
            f()
            raise Failed("no " + name)
        except dbus.exceptions.DBusException as e:
            need(e.get_dbus_name() == name, e.get_dbus_name())


@step("disconnect")
def disconnect():
    iface(pulse, DEVICE).Disconnect()
    need(not get(pulse, DEVICE, "Connected"), "connected")


@step("reconnect")
def reconnect():
    iface(pulse, DEVICE).Connect()
    resolved(pulse)
    need(bytes(iface(char(pulse, VENDOR % 2), CHAR).ReadValue({})) == b"dbus-python", "value")


@step("remove")
def remove():
    adapter.RemoveDevice(device(LOCK))
    adapter.RemoveDevice(pulse)
    need(not device(LOCK) and not device(PULSE), "still there")


sys.exit(1 if failed else 0)
