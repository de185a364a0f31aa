"""What a program on QtBluetooth does (PySide6). Prints "ok STEP" or "not ok STEP: WHY"."""
import sys

from PySide6.QtBluetooth import (QBluetoothAddress, QBluetoothDeviceDiscoveryAgent, QBluetoothLocalDevice, QBluetoothUuid,
                                 QLowEnergyCharacteristic, QLowEnergyController, QLowEnergyDescriptor, QLowEnergyService)
from PySide6.QtCore import QByteArray, QCoreApplication, QEventLoop, QTimer, QUuid

PULSE, LOCK = "C8:2B:96:10:00:01", "E1:5D:0A:10:00:03"


def vendor(n):
    return QBluetoothUuid(QUuid("b1e5%04x-6d5e-4c1b-9e3a-1f0c2d3e4f50" % n))


failed = 0
app = QCoreApplication(sys.argv)


class Failed(Exception):
    pass


def wait(cond, what, seconds=30):
    loop = QEventLoop()
    timer, limit = QTimer(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if cond() else None)
    timer.start(10)
    limit.setSingleShot(True)
    limit.timeout.connect(loop.quit)
    limit.start(seconds * 1000)
    if not cond():
        loop.exec()
    timer.stop()
    limit.stop()
    if not cond():
        raise Failed("waited in vain for " + what)


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
        raise Failed(what)


@step("power")
def local():
    d = QBluetoothLocalDevice()
    need(d.isValid(), "not valid")
    print("#", d.name(), d.address().toString(), d.hostMode(), QBluetoothLocalDevice.allDevices()[0].name())
    need(d.hostMode() != QBluetoothLocalDevice.HostMode.HostPoweredOff, "powered off")
    return d


found = {}


@step("discover")
def agent():
    a = QBluetoothDeviceDiscoveryAgent()
    a.setLowEnergyDiscoveryTimeout(6000)
    updates = []
    a.deviceUpdated.connect(lambda i, f: updates.append(f))
    a.deviceDiscovered.connect(lambda i: found.__setitem__(i.address().toString(), i))
    done, errors = [], []
    a.finished.connect(lambda: done.append(1))
    a.errorOccurred.connect(errors.append)
    a.start(QBluetoothDeviceDiscoveryAgent.DiscoveryMethod.LowEnergyMethod)
    wait(lambda: done or errors, "the end of the discovery")
    need(not errors, a.errorString())
    for i in a.discoveredDevices():
        found[i.address().toString()] = i
    for k, i in found.items():
        print("#", k, i.name(), i.rssi(), [hex(m) for m in i.manufacturerIds()], [u.toString() for u in i.serviceUuids()], i.coreConfigurations())
    print("# updates", len(updates))
    need(PULSE in found and LOCK in found and "F3:6A:48:10:00:04" in found, "devices %r" % list(found))
    need(found[PULSE].name() == "Pulse HR-1", found[PULSE].name())
    return a


def controller(addr):
    c = QLowEnergyController.createCentral(found[addr])
    c.errors = []
    c.errorOccurred.connect(c.errors.append)
    return c


State, SState = QLowEnergyController.ControllerState, QLowEnergyService.ServiceState


def connect(c):
    c.connectToDevice()
    wait(lambda: c.state() == State.ConnectedState or c.errors, "the connection")
    need(not c.errors, "%s %s" % (c.errors, c.errorString()))


def services(c):
    c.discoverServices()
    wait(lambda: c.state() == State.DiscoveredState or c.errors, "the services")
    need(not c.errors, "%s %s" % (c.errors, c.errorString()))
    return c.services()


def details(c, uuid):
    s = c.createServiceObject(uuid)
    need(s is not None, "no service object")
    s.problems = []
    s.errorOccurred.connect(s.problems.append)
    s.discoverDetails()
    wait(lambda: s.state() == SState.RemoteServiceDiscovered or s.problems, "the details")
    need(not s.problems, s.problems)
    return s


if len(sys.argv) > 1 and sys.argv[1] == "hold":
    c = controller(PULSE)
    connect(c)
    services(c)
    s = details(c, vendor(1))
    ch = s.characteristic(vendor(4))
    s.characteristicChanged.connect(lambda ch, v: print("hold", v.toHex(), flush=True))
    s.writeDescriptor(ch.clientCharacteristicConfiguration(), QByteArray(b"\x01\x00"))
    sys.exit(app.exec())

c = controller(PULSE)
step("connect")(lambda: connect(c))


@step("list")
def service():
    got = services(c)
    print("#", [u.toString() for u in got], "mtu", c.mtu())
    need(len(got) == 6, "%d services" % len(got))
    s = details(c, vendor(1))
    need(len(s.characteristics()) == 5, "%d characteristics" % len(s.characteristics()))
    return s


@step("read")
def read():
    got = []
    service.characteristicRead.connect(lambda ch, v: got.append(bytes(v)))
    service.readCharacteristic(service.characteristic(vendor(6)))
    wait(lambda: got or service.problems, "the value")
    need(got and len(got[0]) > 100, "%r %r" % (got, service.problems))


@step("descriptor read")
def descriptor():
    got = []
    service.descriptorRead.connect(lambda d, v: got.append(bytes(v)))
    d = service.characteristic(vendor(2)).descriptor(QBluetoothUuid(QBluetoothUuid.DescriptorType.CharacteristicUserDescription))
    need(d.isValid(), "no descriptor")
    service.readDescriptor(d)
    wait(lambda: got or service.problems, "the value")
    need(got == [b"Greeting"], "%r %r" % (got, service.problems))


@step("write with response")
def write():
    done, got = [], []
    service.characteristicWritten.connect(lambda ch, v: done.append(bytes(v)))
    ch = service.characteristic(vendor(2))
    service.writeCharacteristic(ch, QByteArray(b"from qt"))
    wait(lambda: done or service.problems, "the response")
    service.characteristicRead.connect(lambda ch, v: got.append(bytes(v)))
    service.readCharacteristic(ch)
    wait(lambda: got or service.problems, "the value")
    need(got == [b"from qt"], "%r %r" % (got, service.problems))


@step("write without response")
def command():
    service.writeCharacteristic(service.characteristic(vendor(3)), QByteArray(b"qt"), QLowEnergyService.WriteMode.WriteWithoutResponse)
    loop = QEventLoop()
    QTimer.singleShot(500, loop.quit)
    loop.exec()
    need(not service.problems, service.problems)


@step("notify")
def notify():
    values, written = [], []
    service.characteristicChanged.connect(lambda ch, v: values.append(bytes(v)))
    service.descriptorWritten.connect(lambda d, v: written.append(bytes(v)))
    ch = service.characteristic(vendor(4))
    cccd = ch.clientCharacteristicConfiguration()
    need(cccd.isValid(), "no CCCD")
    service.writeDescriptor(cccd, QByteArray(b"\x01\x00"))
    wait(lambda: len(values) >= 4 or service.problems, "four values")
    print("#", values)
    need(not service.problems, service.problems)
    service.writeDescriptor(cccd, QByteArray(b"\x00\x00"))
    wait(lambda: len(written) >= 2 or service.problems, "the end")
    need(not service.problems, service.problems)


@step("pair")
def pair():
    done, errors = [], []
    local.pairingFinished.connect(lambda a, p: done.append(p))
    local.errorOccurred.connect(errors.append)
    local.requestPairing(QBluetoothAddress(LOCK), QBluetoothLocalDevice.Pairing.Paired)
    wait(lambda: done or errors, "the pairing")
    need(done and done[0] == QBluetoothLocalDevice.Pairing.Paired, "%r %r" % (done, errors))
    lc = controller(LOCK)
    connect(lc)
    services(lc)
    s = details(lc, QBluetoothUuid(QUuid("10cc0001-37a1-4d2c-8f10-5b6a79881122")))
    pin = s.characteristic(QBluetoothUuid(QUuid("10cc0003-37a1-4d2c-8f10-5b6a79881122")))
    need(bytes(pin.value()) == b"1234", bytes(pin.value()))
    lc.disconnectFromDevice()
    wait(lambda: lc.state() == State.UnconnectedState, "the disconnection")


@step("disconnect")
def disconnect():
    gone = []
    c.disconnected.connect(lambda: gone.append(1))
    c.disconnectFromDevice()
    wait(lambda: gone and c.state() == State.UnconnectedState, "the disconnection")
    need(not c.errors, c.errors)


@step("reconnect")
def reconnect():
    c2 = controller(PULSE)
    connect(c2)
    services(c2)
    s = details(c2, vendor(1))
    need(bytes(s.characteristic(vendor(2)).value()) == b"from qt", bytes(s.characteristic(vendor(2)).value()))
    c2.disconnectFromDevice()
    wait(lambda: c2.state() == State.UnconnectedState, "the disconnection")


@step("remove (unpair)")
def unpair():
    done, errors = [], []
    local.pairingFinished.connect(lambda a, p: done.append(p))
    local.errorOccurred.connect(errors.append)
    local.requestPairing(QBluetoothAddress(LOCK), QBluetoothLocalDevice.Pairing.Unpaired)
    wait(lambda: done or errors, "the end of the pairing")
    need(done == [QBluetoothLocalDevice.Pairing.Unpaired], "%r %r" % (done, errors))


sys.exit(1 if failed else 0)
