"""A simulated peripheral that a program answers for (docs/simulate.md)."""
import json
import os
import socket


class Served:
    """Subclasses have read(handle) → bytes and write(handle, value)."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(os.environ["CONTROL"], name + ".sock"))
        self.ask(op="serve")

    def ask(self, **request):
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def notify(self, handle, value):
        self.ask(op="notify", handle=handle, value=value.hex())

    def run(self):
        for line in self.socket.makefile():
            e = json.loads(line)
            value = bytes.fromhex(e.get("value", ""))
            if e.get("event") == "read":
                self.ask(op="answer", id=e["id"], value=self.read(e["handle"]).hex())
            elif e.get("event") == "write":
                if "id" in e:
                    self.ask(op="answer", id=e["id"])
                self.write(e["handle"], value)
            elif e.get("ok") is False:
                print("# refused:", e["error"], flush=True)
