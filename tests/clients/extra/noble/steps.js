// What a program on noble does, with its D-Bus binding (NOBLE_BINDINGS=dbus), on the demonstration. Prints "ok STEP" or "not ok STEP: WHY".
"use strict";
const assert = require("node:assert");
const noble = require("@stoprocent/noble");

const PULSE = "c8:2b:96:10:00:01";
const vendor = n => `b1e5${n.toString(16).padStart(4, "0")}6d5e4c1b9e3a1f0c2d3e4f50`;
let failed = 0;

async function step(name, f) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("took more than 60 s")), 60000); });
  try {
    await Promise.race([f(), late]);
    console.log("ok", name);
  } catch (e) {
    failed++;
    console.log(`not ok ${name}: ${e && e.message}`);
  } finally {
    clearTimeout(timer);
  }
}

async function main() {
  const found = new Map();
  let pulse;
  const characteristics = new Map();
  const values = (c, count) => new Promise(resolve => {
    const got = [];
    c.on("data", value => { if (got.push(value.toString("hex")) === count) resolve(got); });
  });
  await step("power", () => noble.waitForPoweredOnAsync());
  await step("discover", async () => {
    noble.on("discover", p => found.set(p.address.toLowerCase(), p));
    await noble.startScanningAsync([], true);
    while (found.size < 7) await new Promise(resolve => setTimeout(resolve, 100));
    pulse = found.get(PULSE);
    assert.strictEqual(pulse.advertisement.localName, "Pulse HR-1");
    assert.strictEqual(pulse.advertisement.manufacturerData.toString("hex"), "ffff0101");
    await noble.stopScanningAsync();
  });
  await step("connect", () => pulse.connectAsync());
  await step("list", async () => {
    for (const s of await pulse.discoverServicesAsync([])) {
      for (const c of await s.discoverCharacteristicsAsync([])) characteristics.set(c.uuid, c);
    }
    assert.ok(characteristics.size >= 14, `${characteristics.size} characteristics`);
  });
  await step("read", async () => assert.ok((await characteristics.get(vendor(6)).readAsync()).length > 100));
  await step("write with response", async () => {
    const c = characteristics.get(vendor(2));
    await c.writeAsync(Buffer.from("from noble"), false);
    assert.strictEqual((await c.readAsync()).toString(), "from noble");
  });
  await step("notify", async () => {
    const c = characteristics.get(vendor(4));
    const came = values(c, 4);
    await c.subscribeAsync();
    const got = (await came).map(v => parseInt(v, 16));
    await c.unsubscribeAsync();
    console.log("#", got);
    got.slice(1).forEach((v, i) => assert.strictEqual(v, got[i] + 1));
  });
  await step("descriptor", async () => {
    const c = characteristics.get(vendor(4));
    const d = (await c.discoverDescriptorsAsync()).find(x => x.uuid === "2901");
    const text = (await d.readValueAsync()).toString();
    console.log("#", text);
    assert.ok(text.length > 0);
  });
  await step("disconnect", () => pulse.disconnectAsync());
  await step("reconnect", async () => {
    await pulse.connectAsync();
    const [s] = await pulse.discoverServicesAsync(["180f"]);
    const [level] = await s.discoverCharacteristicsAsync(["2a19"]);
    console.log("# battery", (await level.readAsync())[0]);
    await pulse.disconnectAsync();
  });
  process.exit(failed ? 1 : 0);
}

main();
