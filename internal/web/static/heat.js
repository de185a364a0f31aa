// The heat map: devices down, proxies across. Rows stay and only what changed is written.
import {el, ago} from "./page.js";

// step puts dBm into one of six steps of colour.
export function step(rssi) {
  return rssi >= -50 ? 6 : rssi >= -60 ? 5 : rssi >= -70 ? 4 : rssi >= -80 ? 3 : rssi >= -90 ? 2 : 1;
}

const staleAfter = 30e3;

const best = (d) => d.sources.reduce((b, s) => (s[1] && s[2] < staleAfter ? Math.max(b, s[1]) : b), -128);

// Coarse, so that rows do not dance.
const orders = {
  name: (a, b) => !a.name - !b.name || a.name.localeCompare(b.name),
  rssi: (a, b) => Math.round(best(b) / 6) - Math.round(best(a) / 6),
  heard: (a, b) => Math.floor(a.heard / 5000) - Math.floor(b.heard / 5000),
};

export class Heat {
  filter = ""; order = "name"; chosen = null; flash = new Set();
  #table; #rows = new Map(); #columns = ""; #choose;

  constructor(table, {choose}) {
    this.#table = table;
    this.#choose = choose;
  }

  // show returns how many devices passed the filter.
  show(snap) {
    this.#head(snap.proxies);
    const list = snap.list.map((d) => ({...d, name: d.name || ""}))
      .filter((d) => !this.filter || d.name.toLowerCase().includes(this.filter) || d.address.toLowerCase().includes(this.filter))
      .sort((a, b) => orders[this.order](a, b) || (a.address < b.address ? -1 : 1));
    const body = this.#table.tBodies[0];
    const seen = new Set();
    list.forEach((d, i) => {
      seen.add(d.address);
      let row = this.#rows.get(d.address);
      if (!row) this.#rows.set(d.address, row = this.#row(d.address, snap.proxies.length));
      this.#fill(row, d, snap);
      if (body.children[i] !== row.tr) body.insertBefore(row.tr, body.children[i] || null);
    });
    for (const [a, row] of this.#rows) {
      if (!seen.has(a)) {
        row.tr.remove();
        this.#rows.delete(a);
      }
    }
    this.#table.hidden = list.length === 0;
    return list.length;
  }

  #head(proxies) {
    const columns = JSON.stringify(proxies.map((p) => [p.name, p.state]));
    if (columns === this.#columns) return;
    this.#columns = columns;
    const tr = el("tr", "");
    const add = (cls, inside) => {
      const th = el("th", cls, inside);
      th.scope = "col";
      tr.append(th);
      return th;
    };
    add("dev", "Device");
    for (const p of proxies) add(p.state === "online" ? "" : "down", el("bdi", "", p.name)).title = p.name + ": " + p.state;
    add("age", "heard");
    this.#table.tHead.replaceChildren(tr);
    for (const row of this.#rows.values()) row.tr.remove();
    this.#rows.clear();
  }

  #row(address, n) {
    const row = {tr: el("tr", ""), name: el("bdi", "name"), addr: el("span", "addr"), link: el("span", "linked", "connected"), cells: [], age: el("td", "age"), device: null};
    const button = el("button", "", row.name, row.addr, row.link);
    button.type = "button";
    button.addEventListener("click", () => this.#choose(this.chosen === address ? null : row.device));
    const th = el("th", "dev", button);
    th.scope = "row";
    row.tr.append(th);
    for (let i = 0; i < n; i++) {
      const span = el("span", "");
      row.cells.push(span);
      row.tr.append(el("td", "", span));
    }
    row.tr.append(row.age);
    return row;
  }

  #fill(row, d, snap) {
    row.device = d;
    set(row.name, d.name || "no name", d.name ? "name" : "name none");
    row.name.title = d.name;
    set(row.addr, d.address, "addr");
    row.link.hidden = !d.connected;
    set(row.age, ago(d.heard), "age");
    row.tr.classList.toggle("chosen", d.address === this.chosen);
    const by = new Map(d.sources.map((s) => [s[0], s]));
    row.cells.forEach((cell, i) => {
      const s = by.get(i);
      if (!s || !s[1]) return set(cell, s ? "?" : "", "", "");
      let cls = "s" + step(s[1]);
      if (s[3]) cls += " owner";
      if (s[2] > staleAfter) cls += " stale";
      if (s[3] && (this.flash.has(d.address) || cell.classList.contains("flash") && cell.dataset.flash > Date.now())) {
        cls += " flash";
        if (this.flash.has(d.address)) cell.dataset.flash = Date.now() + 2500;
      }
      set(cell, s[1].toString().replace("-", "−"), cls,
        `${s[1]} dBm at ${snap.proxies[i].name}, ${ago(s[2])}` + (s[3] ? "; speaks for the device" : ""));
    });
  }
}

function set(e, text, cls, title) {
  if (e.textContent !== text) e.textContent = text;
  if (cls !== undefined && e.className !== cls) e.className = cls;
  if (title !== undefined && e.title !== title) e.title = title;
}
