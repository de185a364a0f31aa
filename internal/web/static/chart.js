// What each proxy heard of a device over the last hour: from the daemon, which keeps it.
import {ago, dBm} from "./util.js";

const low = -105, high = -25, silence = 6; // steps after which a line has a gap

const left = 34, right = 8; // of the lines, in pixels
const width = (place) => Math.max(320, place.clientWidth || 640);

const ns = "http://www.w3.org/2000/svg";

function svg(tag, attributes, text) {
  const e = document.createElementNS(ns, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text) e.textContent = text;
  return e;
}

export class Chart {
  #place; #key; #hidden = new Set(); #last = null;
  #cross = -1; #shown = 0; // a step, -1 none, and how many there are

  constructor(place, key) {
    this.#place = place;
    this.#key = key;
    const point = (e) => {
      const box = place.getBoundingClientRect(), w = width(place);
      this.#move(((e.clientX - box.left) / box.width * w - left) / (w - left - right) * (this.#shown - 1));
    };
    place.addEventListener("pointermove", point);
    place.addEventListener("pointerdown", point);
    place.addEventListener("pointerleave", (e) => { if (e.pointerType === "mouse") this.#leave(); });
    place.addEventListener("blur", () => this.#leave());
    place.addEventListener("keydown", (e) => {
      const at = this.#cross < 0 ? this.#shown : this.#cross;
      const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.#shown - 1}[e.key];
      if (to === undefined) return;
      e.preventDefault();
      this.#move(to);
    });
  }

  // #move puts the crosshair at a step, #leave takes it away.
  #move(step) {
    this.#cross = Math.max(0, Math.min(this.#shown - 1, Math.round(step)));
    this.#redraw();
  }

  #leave() {
    this.#cross = -1;
    this.#redraw();
  }

  // draw shows {step in seconds, proxies: {name: [dBm, oldest first, 0 unheard]}}, of the last so many minutes.
  draw(past) {
    this.#last = past;
    this.#redraw();
  }

  #redraw() {
    const past = this.#last;
    if (!past) return;
    const names = Object.keys(past.proxies).sort();
    const longest = Math.max(...names.map((n) => { const i = past.proxies[n].findIndex(Boolean); return i < 0 ? 0 : past.proxies[n].length - i; }), 12);
    const shown = this.#shown = Math.min(longest, past.steps);
    const w = width(this.#place), h = 220, top = 8, bottom = 22;
    const x = (i) => left + (w - left - right) * i / (shown - 1);
    const y = (v) => top + (h - top - bottom) * (high - Math.min(high, Math.max(low, v))) / (high - low);
    const root = svg("svg", {viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "Signal strength over time"});
    for (let v = -100; v <= -30; v += 20) {
      root.append(svg("line", {class: "grid", x1: left, x2: w - right, y1: y(v), y2: y(v)}), svg("text", {x: left - 5, y: y(v) + 4, "text-anchor": "end"}, dBm(v)));
    }
    const back = shown * past.step;
    root.append(svg("text", {x: left, y: h - 6}, back < 120 ? `${back} s ago` : `${Math.round(back / 60)} min ago`), svg("text", {x: w - right, y: h - 6, "text-anchor": "end"}, "now"));
    const cross = Math.min(this.#cross, shown - 1);
    if (cross >= 0) {
      const ms = (shown - 1 - cross) * past.step * 1000, late = cross > shown / 2;
      root.append(svg("line", {class: "cross", x1: x(cross), x2: x(cross), y1: top, y2: h - bottom}),
        svg("text", {x: x(cross) + (late ? -5 : 5), y: top + 10, "text-anchor": late ? "end" : "start"}, ago(ms)));
    }
    const keys = [];
    names.forEach((name, n) => {
      const line = past.proxies[name].slice(-shown);
      let d = "", gap = 99;
      line.forEach((v, i) => {
        if (!v) { gap++; return; }
        d += `${gap > silence ? "M" : "L"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
        if (gap > silence) d += "h0.1";
        gap = 0;
      });
      const cls = `k${n % 8} dash${Math.floor(n / 8) % 3}`;
      const g = svg("g", {class: cls});
      if (d && !this.#hidden.has(name)) g.append(svg("path", {d}));
      root.append(g);
      const value = cross >= 0 ? line[cross] : line.findLast(Boolean);
      keys.push([name, cls, value ? dBm(value) : "silent"]);
    });
    this.#place.replaceChildren(root);
    this.#legend(keys);
  }

  #legend(keys) {
    const have = [...this.#key.children];
    if (have.length !== keys.length || have.some((li, i) => li.dataset.name !== keys[i][0])) {
      this.#key.replaceChildren(...keys.map(([name, cls]) => {
        const li = document.createElement("li"), b = document.createElement("button"), bdi = document.createElement("bdi");
        li.className = cls;
        li.dataset.name = name;
        b.type = "button";
        bdi.textContent = name;
        b.append(bdi, document.createElement("span"));
        b.addEventListener("click", () => {
          if (!this.#hidden.delete(name)) this.#hidden.add(name);
          this.#redraw();
        });
        li.append(b);
        return li;
      }));
    }
    keys.forEach(([name, , value], i) => {
      const b = this.#key.children[i].firstChild;
      b.setAttribute("aria-pressed", String(!this.#hidden.has(name)));
      b.lastChild.textContent = " " + value;
    });
  }
}

