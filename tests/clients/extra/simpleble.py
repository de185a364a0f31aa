"""What a program on SimpleBLE does (simplepyble). Prints "ok STEP" or "not ok STEP: WHY"."""
import sys
import time

import simplepyble

PULSE, LOCK = "C8:2B:96:10:00:01", "E1:5D:0A:10:00:03"
VENDOR = "b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50"
failed = 0


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


def need(cond, what):
    if not cond:
        raise Exception(what)


adapters = []


@step("power")
def power():
    need(simplepyble.Adapter.bluetooth_enabled(), "not enabled")
    global adapters
    a = adapters = simplepyble.Adapter.get_adapters()
    need(len(a) == 1, "adapters %r" % [x.identifier() for x in a])
    print("#", a[0].identifier(), a[0].address())


if not adapters:
    sys.exit(1)
adapter = adapters[0]


def scan(addr, ms=5000):
    adapter.scan_for(ms)
    for p in adapter.scan_get_results():
        if p.address().upper() == addr:
            return p
    raise Exception("not found: %r" % [p.address() for p in adapter.scan_get_results()])


if len(sys.argv) > 1 and sys.argv[1] == "hold":
    p = scan(PULSE)
    p.connect()
    p.notify(VENDOR % 1, VENDOR % 4, lambda v: print("hold", v.hex(), flush=True))
    time.sleep(600)


@step("discover")
def pulse():
    found, updated = [], []
    adapter.set_callback_on_scan_found(lambda p: found.append(p.address()))
    adapter.set_callback_on_scan_updated(lambda p: updated.append(p.address()))
    p = scan(PULSE)
    for q in adapter.scan_get_results():
        print("#", q.address(), q.address_type(), q.identifier(), q.rssi(), q.tx_power(), q.manufacturer_data(), q.is_connectable(), [s.uuid() for s in q.services()])
    need(len(found) >= 7, "found %r" % found)
    print("# found", len(found), "updated", len(updated))
    need(p.identifier() == "Pulse HR-1", p.identifier())
    return p


@step("connect")
def connect():
    pulse.connect()
    need(pulse.is_connected(), "not connected")


@step("list")
def services():
    s = pulse.services()
    n = sum(len(x.characteristics()) for x in s)
    need(n == 16, "%d characteristics in %d services" % (n, len(s)))
    print("# mtu", pulse.mtu())
    need(pulse.mtu() > 200, "MTU %d" % pulse.mtu())


@step("read")
def read():
    v = pulse.read(VENDOR % 1, VENDOR % 6)
    need(len(v) > 100, "short")


@step("descriptor read")
def descriptor():
    v = pulse.descriptor_read(VENDOR % 1, VENDOR % 2, "00002901-0000-1000-8000-00805f9b34fb")
    need(v == b"Greeting", v)


@step("write with response")
def write():
    pulse.write_request(VENDOR % 1, VENDOR % 2, b"from simple")
    v = pulse.read(VENDOR % 1, VENDOR % 2)
    need(v == b"from simple", v)


@step("write without response")
def command():
    pulse.write_command(VENDOR % 1, VENDOR % 3, b"simple")


@step("notify")
def notify():
    values = []
    pulse.notify(VENDOR % 1, VENDOR % 4, lambda v: values.append(bytes(v)))
    for _ in range(100):
        if len(values) >= 4:
            break
        time.sleep(0.1)
    print("#", values)
    need(len(values) >= 4, "%d values" % len(values))
    t = time.time()
    pulse.unsubscribe(VENDOR % 1, VENDOR % 4)
    need(time.time() - t < 3, "unsubscribe took %d s" % (time.time() - t))


@step("indicate")
def indicate():
    pulse.indicate(VENDOR % 1, VENDOR % 5, lambda v: None)
    pulse.unsubscribe(VENDOR % 1, VENDOR % 5)


@step("pair")
def pair():
    # SimpleBLE registers an agent of its own; the encrypted read pairs.
    lock = scan(LOCK)
    lock.connect()
    v = lock.read("10cc0001-37a1-4d2c-8f10-5b6a79881122", "10cc0003-37a1-4d2c-8f10-5b6a79881122")
    need(v == b"1234", v)
    need(lock.is_paired(), "not paired")
    lock.disconnect()
    lock.unpair()


@step("disconnect")
def disconnect():
    gone = []
    pulse.set_callback_on_disconnected(lambda: gone.append(1))
    t = time.time()
    pulse.disconnect()
    need(not pulse.is_connected(), "connected")
    time.sleep(0.5)
    print("# %.1f s, callback %r" % (time.time() - t, gone))


@step("reconnect")
def reconnect():
    pulse.connect()
    v = pulse.read(VENDOR % 1, VENDOR % 2)
    need(v == b"from simple", v)
    pulse.disconnect()


sys.exit(1 if failed else 0)
