// What matter.js uses of @stoprocent/bleno, on a peripheral of `bluez-esphome simulate` instead of a Bluetooth controller: the unix socket in
// BLENO_SOCKET (docs/simulate.md, "A peripheral that is a program of its own").
"use strict";
const { EventEmitter } = require("node:events");
const net = require("node:net");

const hex = data => Buffer.from(data ?? []).toString("hex");
const uuid = u => (u.length === 4 ? u : u.toLowerCase());

class Characteristic {
  RESULT_SUCCESS = 0x00;
  RESULT_INVALID_OFFSET = 0x07;
  RESULT_UNLIKELY_ERROR = 0x0e;
  constructor(options) {
    Object.assign(this, options);
  }
}

class PrimaryService {
  constructor(options) {
    Object.assign(this, options);
  }
}

class Bleno extends EventEmitter {
  Characteristic = Characteristic;
  PrimaryService = PrimaryService;
  address = "unknown";
  mtu = 23;
  #replies = []; // what is called with the answers to requests, in their order
  #characteristics = new Map(); // by value handle
  #socket;

  constructor(path) {
    super();
    let rest = "";
    this.#socket = net.connect(path, () => this.#ask({ op: "serve" }).then(() => this.emit("stateChange", "poweredOn")));
    this.#socket.setEncoding("utf8").on("data", data => {
      const lines = (rest + data).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const m = JSON.parse(line);
        if (m.event) setImmediate(() => this.#event(m)); // each in a turn of its own, as packets of a controller come
        else this.#replies.shift()(m);
      }
    });
  }

  #ask(request) {
    this.#socket.write(JSON.stringify(request) + "\n");
    return new Promise((resolve, reject) => this.#replies.push(r => (r.ok ? resolve(r) : reject(new Error(r.error)))));
  }

  #event(e) {
    const c = this.#characteristics.get(e.handle) ?? {}; // those of GAP and GATT are not matter.js's
    switch (e.event) {
      case "connected":
        this.mtu = e.mtu;
        this.emit("accept", e.proxy);
        this.emit("mtuChange", e.mtu);
        break;
      case "disconnected":
        this.emit("disconnect", "");
        break;
      case "read":
        if (!c.onReadRequest) this.#ask({ op: "answer", id: e.id, value: hex("Matter") }).catch(() => {});
        else c.onReadRequest(0, 0, (error, data) => this.#ask({ op: "answer", id: e.id, error, value: hex(data) }).catch(() => {}));
        break;
      case "write":
        c.onWriteRequest(0, Buffer.from(e.value ?? "", "hex"), 0, e.id === undefined, error => {
          if (e.id !== undefined) this.#ask({ op: "answer", id: e.id, error }).catch(() => {});
        });
        break;
      case "subscribed":
        if (e.notify || e.indicate) c.onSubscribe?.(0, this.mtu - 3, value => this.#push(e.handle, value, !!e.indicate));
        else c.onUnsubscribe?.();
        break;
      case "confirmed":
        c.onIndicate?.();
        break;
    }
  }

  #push(handle, value, indicate) {
    this.#ask({ op: "notify", handle, value: hex(value), indicate }).catch(error => console.error("cannot push:", error.message));
  }

  startAdvertisingWithEIRData(advertisement, scanResponse) {
    this.#ask({ op: "set_advertisement", raw_advertisement: hex(advertisement), raw_scan_response: hex(scanResponse) })
      .then(() => this.#ask({ op: "advertise", on: true }))
      .then(() => this.emit("advertisingStart", undefined), error => this.emit("advertisingStart", error));
  }

  stopAdvertising() {
    this.#ask({ op: "advertise", on: false }).then(() => this.emit("advertisingStop"), () => {});
  }

  // Every device has the services GAP and GATT besides its own.
  setServices(services) {
    let handle = 20;
    const gatt = [
      { uuid: "1800", handle: 1, characteristics: [{ uuid: "2a00", handle: 2, value_handle: 3, properties: ["read"], value: hex("Matter") }] },
      { uuid: "1801", handle: 10, characteristics: [
        { uuid: "2a05", handle: 11, value_handle: 12, properties: ["indicate"], descriptors: [{ uuid: "2902", handle: 13 }] }] },
    ];
    for (const s of services) {
      const characteristics = [];
      const first = handle++;
      for (const c of s.characteristics) {
        const own = { uuid: uuid(c.uuid), handle: handle++, value_handle: handle++, properties: c.properties };
        if (c.properties.some(p => p === "notify" || p === "indicate")) own.descriptors = [{ uuid: "2902", handle: handle++ }];
        this.#characteristics.set(own.value_handle, c);
        characteristics.push(own);
      }
      gatt.push({ uuid: uuid(s.uuid), handle: first, characteristics });
    }
    this.#ask({ op: "set_gatt", gatt: { services: gatt } }).then(() => this.emit("servicesSet", undefined), error => this.emit("servicesSet", error));
  }

  updateRssi() {}

  // A second late: matter.js calls it as soon as it is commissioned, and a CHIP SDK of 2025 crashes now and then if the device ends the link in
  // the moment in which it does so itself (docs/quirks.md).
  disconnect() {
    setTimeout(() => this.#ask({ op: "disconnect", reason: 19 }).catch(() => {}), 1000);
  }

  stop() {
    setTimeout(() => this.#socket.end(), 1100);
  }
}

module.exports = new Bleno(process.env.BLENO_SOCKET);
