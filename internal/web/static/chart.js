// What each proxy heard of a device over the last minutes.
const length = 300; // snapshots, one a second
const fresh = 1900; // older ones were in an earlier snapshot already
const low = -105, high = -25;

// History keeps one byte for each second, proxy and device: dBm, 0 for nothing heard.
export class History {
  tick = 0;
  #devices = new Map(); // address → name of the proxy → Int8Array, a ring

  add(snap) {
    this.tick++;
    const at = this.tick % length;
    for (const rings of this.#devices.values()) for (const ring of rings.values()) ring[at] = 0;
    const seen = new Set();
    for (const d of snap.list) {
      seen.add(d.address);
      let rings = this.#devices.get(d.address);
      if (!rings) this.#devices.set(d.address, rings = new Map());
      for (const [i, rssi, ms] of d.sources) {
        const name = snap.proxies[i].name;
        let ring = rings.get(name);
        if (!ring) rings.set(name, ring = new Int8Array(length));
        if (ms < fresh) ring[at] = rssi;
      }
    }
    for (const a of this.#devices.keys()) if (!seen.has(a)) this.#devices.delete(a);
  }

  of(address) { return this.#devices.get(address) || new Map(); }
}

const ns = "http://www.w3.org/2000/svg";

function svg(tag, attributes, text) {
  const e = document.createElementNS(ns, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text) e.textContent = text;
  return e;
}

export class Chart {
  device = null;
  #place; #key; #past;

  constructor(place, key, past) {
    this.#place = place;
    this.#key = key;
    this.#past = past;
  }

  draw() {
    if (!this.device) return;
    const w = Math.max(320, this.#place.clientWidth || 640), h = 200, left = 34, right = 8, top = 8, bottom = 22;
    const shown = Math.min(length, Math.max(60, this.#past.tick));
    const x = (i) => left + (w - left - right) * i / (shown - 1);
    const y = (v) => top + (h - top - bottom) * (high - Math.min(high, Math.max(low, v))) / (high - low);
    const root = svg("svg", {viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "Signal strength over time"});
    for (let v = -100; v <= -30; v += 10) {
      if (v % 20) continue;
      root.append(svg("line", {class: "grid", x1: left, x2: w - right, y1: y(v), y2: y(v)}));
      root.append(svg("text", {x: left - 5, y: y(v) + 4, "text-anchor": "end"}, "−" + -v));
    }
    root.append(svg("text", {x: left, y: h - 6}, `${shown} s ago`));
    root.append(svg("text", {x: w - right, y: h - 6, "text-anchor": "end"}, "now"));
    const keys = [];
    let n = 0;
    for (const [name, ring] of [...this.#past.of(this.device)].sort((a, b) => a[0] < b[0] ? -1 : 1)) {
      let d = "", gap = 99, last = 0;
      for (let i = 0; i < shown; i++) {
        const t = this.#past.tick - shown + 1 + i;
        const v = t > 0 ? ring[t % length] : 0;
        if (!v) {
          gap++;
          continue;
        }
        // A device that is heard every few seconds is one line; a real silence is a gap.
        d += `${gap > 12 ? "M" : "L"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
        if (gap > 12) d += "h0.1";
        gap = 0;
        last = v;
      }
      const cls = "k" + n++ % 8;
      if (d) root.append(svg("path", {class: cls, d}));
      const li = document.createElement("li");
      const bdi = document.createElement("bdi");
      li.className = cls;
      bdi.textContent = name;
      li.append(bdi, last ? ` −${-last}` : " silent");
      keys.push(li);
    }
    this.#place.replaceChildren(root);
    this.#key.replaceChildren(...keys);
  }
}
