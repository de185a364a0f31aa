"""The world of tests/matter/run.py: two network namespaces with a cable between them, simulated proxies, the daemon, and a device."""
import json
import os
import re
import socket
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PASSCODE = 20202021
LIMIT = 600  # seconds for what has to come: only what hangs ever reaches it


def until(what, condition):
    """Waits for a condition, and gives what it gives."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        got = condition()
        if got:
            return got
        time.sleep(0.05)
    raise TimeoutError("waited in vain for " + what)


class Program:
    """A program with its output in a file, and the lines of it that begin with "@"."""

    def __init__(self, log, command, env=None, stdin=subprocess.DEVNULL):
        self.path = log
        self.said = []
        self.out = open(log, "wb")
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.out.write(line)
            self.out.flush()
            if line.startswith(b"@ "):
                self.said.append(line.decode(errors="replace").split()[1:])

    def wait_for(self, *words):
        def found():
            for said in self.said:
                if said[0] in words:
                    return said
            if self.process.poll() is not None:
                raise RuntimeError("%s ended with %s" % (self.path, self.process.returncode))
            return None
        return until("%s in %s" % (" or ".join(words), self.path), found)

    def text(self):
        """All that it printed, without colours."""
        with open(self.path, errors="replace") as f:
            return re.sub(r"\x1b\[[0-9;]*m", "", f.read())

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.out.close()


class Relay:
    """Passes bytes on to a proxy until its power is cut: from then on it passes nothing and accepts nobody. cut_at_connect cuts it at the moment at which
    the proxy is asked to connect, before the proxy hears of it."""

    CONNECT = 68  # BluetoothDeviceRequest, native API

    def __init__(self, listen, target):
        self.target = target
        self.cut = threading.Event()
        self.cut_at_connect = False
        self.pairs = []
        self.server = socket.create_server(listen)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.server.accept()
            if self.cut.is_set():
                self.pairs.append((client, None))  # its packets go nowhere
                continue
            proxy = socket.create_connection(self.target)
            self.pairs.append((client, proxy))
            threading.Thread(target=self.pump, args=(client, proxy, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(proxy, client, False), daemon=True).start()

    def pump(self, source, sink, watched):
        try:
            while data := source.recv(65536):
                if watched and self.cut_at_connect and self.asks_to_connect(data):
                    self.cut_at_connect = False
                    self.cut.set()
                if self.cut.is_set():
                    return
                sink.sendall(data)
        except OSError:
            pass
        if not self.cut.is_set():
            for s in (source, sink):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    @staticmethod
    def asks_to_connect(data):
        """Whether plaintext frames, which begin at the first byte, have a request to connect among them."""
        def varint(i):
            v = shift = 0
            while True:
                v |= (data[i] & 0x7F) << shift
                shift, i = shift + 7, i + 1
                if data[i - 1] < 0x80:
                    return v, i
        i = 0
        try:
            while i < len(data):
                size, i = varint(i + 1)
                kind, i = varint(i)
                if kind == Relay.CONNECT:
                    return True
                i += size
        except IndexError:
            pass
        return False

    def restore(self):
        """Power is back: connections from before are gone."""
        self.cut_at_connect = False
        self.cut.clear()
        for pair in self.pairs:
            for s in pair:
                if s:
                    s.close()
        self.pairs = []


class World:
    def __init__(self, binary, work, devices):
        self.binary, self.work, self.count = binary, work, devices
        self.started = []
        tag = "bem%d" % (os.getpid() % 100000)
        self.controllers, self.devices = tag + "a", tag + "b"
        self.control = os.path.join(work, "control")
        self.bus = os.path.join(work, "bluez-esphome", "bus")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def ip(self, *args):
        subprocess.run(["ip", *args], check=True)

    def start(self):
        self.ip("netns", "add", self.controllers)
        self.ip("netns", "add", self.devices)
        self.ip("link", "add", "cable", "netns", self.controllers, "type", "veth", "peer", "name", "cable", "netns", self.devices)
        for number, ns in (1, self.controllers), (2, self.devices):
            self.ip("-n", ns, "link", "set", "lo", "up")
            # Without duplicate address detection the addresses can be used at once.
            subprocess.run(["ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.cable.accept_dad=0"], check=True)
            self.ip("-n", ns, "addr", "add", "10.99.0.%d/24" % number, "dev", "cable")
            self.ip("-n", ns, "link", "set", "cable", "up")
            self.ip("-n", ns, "route", "add", "default", "dev", "cable")
        file = os.path.join(self.work, "peripherals.json")
        with open(file, "w") as f:
            # Nobody hears a device until it is started.
            json.dump({"devices": [{
                "id": "light-%d" % n, "address": "C2:00:00:00:%02X:%02X" % divmod(n, 256), "address_type": "random", "connectable": True, "mtu": 247,
                "rssi": {}, "advertisement": {"interval_ms": 100},
            } for n in range(1, self.count + 1)]}, f)
        config = os.path.join(self.work, "config.yaml")
        with open(config, "w") as f:
            f.write("state_dir: %s\nproxies:\n  - {address: 127.0.0.1:6063, name: kitchen}\n  - {address: 127.0.0.1:6054, name: attic}\n" %
                    os.path.join(self.work, "state"))
        self.run("simulate", self.controllers, [self.binary, "simulate", "--peripherals", file, "--proxy", "kitchen=127.0.0.1:6053",
                                                "--proxy", "attic=127.0.0.1:6054", "--control", self.control])
        until("the control socket", lambda: os.path.exists(os.path.join(self.control, "light-%d.sock" % self.count)))
        self.relay_process = self.run("relay", self.controllers, ["python3", "-u", os.path.join(HERE, "relay.py")], stdin=subprocess.PIPE)
        self.relay_process.wait_for("ready")
        self.run("daemon", self.controllers, [self.binary, "run", "--config", config, "--bus", "private"], {"XDG_RUNTIME_DIR": self.work})
        self.wait_online()

    def relay(self, word):
        self.relay_process.process.stdin.write(word.encode() + b"\n")
        self.relay_process.process.stdin.flush()

    def run(self, name, ns, command, env=None, stdin=subprocess.DEVNULL):
        p = Program(os.path.join(self.work, "%02d-%s.log" % (len(self.started), name)), ["ip", "netns", "exec", ns, "nice", *command], env, stdin)
        self.started.append(p)
        return p

    def env(self):
        return {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=" + self.bus}

    def wait_online(self):
        """Waits until the daemon has both proxies."""
        def online():
            out = subprocess.run([self.binary, "status", "--json", "--bus", "unix:path=" + self.bus], capture_output=True, text=True).stdout
            try:
                return all(p["state"] == "online" for p in json.loads(out)["proxies"])
            except ValueError:
                return False
        until("both proxies", online)

    def device(self, number):
        """Starts the device of that number; gives it and its discriminator."""
        discriminator = 0x800 + number
        storage = os.path.join(self.work, "storage-%d" % number)
        control = os.path.join(self.control, "light-%d.sock" % number)
        # kitchen hears it much better: it is the proxy that is chosen.
        for proxy, rssi in ("kitchen", -45), ("attic", -75):
            self.steer(control, {"op": "set_rssi", "proxy": proxy, "rssi": rssi})
        p = self.run("device-%d" % number, self.devices,
                     ["node", os.path.join(HERE, "device.mjs"), "5540", str(discriminator), str(PASSCODE), "--log-level=debug"],
                     {"BLENO_SOCKET": control, "MATTER_STORAGE_PATH": storage})
        until("the device's advertisement", lambda: "servicesSet: success" in p.text())
        return p, discriminator

    @staticmethod
    def steer(control, request):
        """Sends one request of the control protocol."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(control)
            s.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(s.makefile().readline())
        if not answer["ok"]:
            raise RuntimeError(answer["error"])

    def silence(self, number):
        """Takes the device of that number off the air."""
        control = os.path.join(self.control, "light-%d.sock" % number)
        for proxy in "kitchen", "attic":
            self.steer(control, {"op": "set_rssi", "proxy": proxy})

    def stop(self):
        for p in reversed(self.started):
            p.stop()
        for ns in self.controllers, self.devices:
            subprocess.run(["ip", "netns", "del", ns], stderr=subprocess.DEVNULL)
