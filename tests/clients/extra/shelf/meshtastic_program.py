"""What a program on Meshtastic's library does: finds the node, reads its configuration, sends a text and gets the answer."""
import os
import subprocess
import sys
import threading

from meshtastic.ble_interface import BLEInterface
from pubsub import pub

node = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(__file__), "node.py")])


def check(step, got, want):
    print("ok" if got == want else "not ok", step + ("" if got == want else ": %r, want %r" % (got, want)), flush=True)


heard, came = [], threading.Event()


def receive(packet, interface):
    heard.append((packet["fromId"], packet["decoded"]["text"]))
    came.set()


try:
    pub.subscribe(receive, "meshtastic.receive.text")
    radio = BLEInterface("Hill_2b96")
    check("find and connect", radio.client.bleak_client.address, "C8:2B:96:20:00:02")
    check("own number", radio.myInfo.my_node_num, 0x20000002)
    check("nodes", sorted(n["user"]["longName"] for n in radio.nodes.values()), ["Hill", "Valley"])
    check("configuration", radio.localNode.localConfig.lora.region, 3)
    radio.sendText("hello")
    came.wait(60)
    check("text and answer", heard, [("!20000099", "echo of hello")])
    radio.close()
except BaseException as e:
    print("not ok meshtastic: %r" % e, flush=True)
node.kill()
sys.stdout.flush()
os._exit(0)  # the library's threads do not end by themselves
