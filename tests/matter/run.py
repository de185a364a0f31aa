"""Commissions a Matter device through two simulated proxies with unmodified controllers. Writes the table of docs/matter.md.

    run.py BINARY WORK CONTROLLER… [--runs N] [--killed N] [--page FILE]

A CONTROLLER is NAME=COMMAND of chip and noble; COMMAND is what installed it (scripts/test-matter.sh).
"""
import argparse
import os
import re
import statistics
import subprocess
import sys

from world import HERE, PASSCODE, World

TITLES = {"chip": "CHIP SDK's Python controller", "noble": "matter.js, noble on D-Bus"}


def make(folder):
    """Makes a folder; gives it if it was not there."""
    if os.path.isdir(folder):
        return None
    os.mkdir(folder)
    return folder


class Controller:
    """A process that commissions what it is told to."""

    def __init__(self, world, name, command):
        storage = os.path.join(world.work, name)
        self.made = None
        os.makedirs(storage, exist_ok=True)
        env = {**world.env(), "MATTER_STORAGE_PATH": storage}
        if name == "chip":
            # The SDK keeps files in /data; here that is a folder of this process alone.
            self.made = make("/data")
            argv = ["unshare", "-m", "sh", "-c", 'mount --make-rprivate / && mount -t tmpfs none /data && exec "$@"', "sh",
                    command, os.path.join(HERE, "chip_controller.py"), storage, os.path.join(world.work, "paa")]
        else:
            argv = [command, os.path.join(HERE, "js_controller.mjs"), "--log-level=debug"]
            env["NOBLE_BINDINGS"] = "dbus"
        self.program = world.run(name, world.controllers, argv, env, subprocess.PIPE)
        self.program.wait_for("ready")

    def commission(self, node, discriminator):
        """Gives what the controller says of it: ["commissioned", node, seconds, on, serial] or ["failed", node, why…]."""
        said = self.program.said
        del said[:]
        self.program.process.stdin.write(b"%d %d %d\n" % (node, discriminator, PASSCODE))
        self.program.process.stdin.flush()
        return self.program.wait_for("commissioned", "failed")

    def stop(self):
        self.program.stop()
        if self.made:
            os.rmdir(self.made)


def attempt(world, controller, number, cut):
    """One commissioning: whether it worked, seconds, and what is to be known of it."""
    device, discriminator = world.device(number)
    try:
        if cut:
            world.relay("cut-at-connect")
        said = controller.commission(number, discriminator)
        text = device.text()
        proxies = re.findall(r"accept new connection, client: (\S+)", text)
        asked = re.findall(r"Received BTP handshake request: maxDataSize: (\d+) versions: \S+ attMtu: (\d+) clientWindowSize: (\d+)", text)
        chosen = re.findall(r"Sending BTP handshake response: version: 4 attMtu: (\d+)", text)
        seen = {"proxies": proxies, "asked": asked, "chosen": chosen, "said": " ".join(said)}
        if said[0] != "commissioned":
            return False, None, seen
        # What the controller says is held against what the device says.
        ok = said[3].lower() == "true" and said[4] == "light-%d" % discriminator
        told = [" ".join(s) for s in device.said]
        ok = ok and "commissioned" in told and "light on" in told and bool(proxies) and bool(chosen)
        ok = ok and (proxies[-1] == "attic" if cut else True)
        seen["device"] = told
        return ok, float(said[2]), seen
    finally:
        device.stop()
        world.silence(number)
        if cut:
            world.relay("restore")
            world.wait_online()


def row(title, results):
    times = [t for ok, t, _ in results if ok]
    asked = sorted({a for _, _, seen in results for _, a, _ in seen["asked"]})
    window = sorted({w for _, _, seen in results for _, _, w in seen["asked"]})
    chosen = sorted({c for _, _, seen in results for c in seen["chosen"]})
    took = "%.1f / %.1f / %.1f" % (min(times), statistics.median(times), max(times)) if times else "–"
    return "| %s | %d of %d | %s | %s | %s | %s |" % (
        title, len(times), len(results), took, ", ".join(asked) or "–", ", ".join(chosen) or "–", ", ".join(window) or "–")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("work")
    parser.add_argument("controllers", nargs="+")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--killed", type=int, default=5)
    parser.add_argument("--page")
    args = parser.parse_args()
    rows, failed, number = [], 0, 0
    with World(args.binary, args.work, len(args.controllers) * (args.runs + args.killed)) as world:
        for spec in args.controllers:
            name, command = spec.split("=", 1)
            controller = Controller(world, name, command)
            for cut, runs in (False, args.runs), (True, args.killed):
                results = []
                for _ in range(runs):
                    number += 1
                    try:
                        result = attempt(world, controller, number, cut)
                    except (TimeoutError, RuntimeError) as e:
                        result = False, None, {"asked": [], "chosen": [], "said": repr(e), "proxies": []}
                    print("%s %s run %d: %s %s s %s" % (name, "power cut" if cut else "", number, "ok" if result[0] else "FAILED", result[1], result[2]), flush=True)
                    if not result[0]:
                        failed += 1
                        controller.stop()  # a controller of which one attempt failed may be in any state
                        controller = Controller(world, name, command)
                    results.append(result)
                if results:
                    rows.append(row(TITLES[name] + (", the chosen proxy dies before Connect" if cut else ""), results))
            controller.stop()
    print("\n".join(rows))
    if args.page and not failed:
        with open(args.page) as f:
            page = f.read()
        # Rows of controllers that were not run stay.
        title = lambda line: line.split(" | ")[0]
        before = [line for line in page.splitlines() if line.startswith("| ") and title(line)[2:].startswith(tuple(TITLES.values()))]
        rows = [line for line in before if title(line) not in map(title, rows)] + rows
        table = "\n".join(["| controller | commissioned | seconds: least / median / most | BTP segment it asked for | agreed | window |",
                           "| --- | --- | --- | --- | --- | --- |", *rows])
        page = re.sub(r"(<!-- table -->\n).*?(\n<!-- end -->)", lambda m: m[1] + table + m[2], page, flags=re.S)
        with open(args.page, "w") as f:
            f.write(page)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
