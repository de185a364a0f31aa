// The heat map: devices down, proxies across. Rows stay and only what changed is written.
import {el, ago, dBm} from "./util.js";
import {state, set as choose} from "./state.js";

// step puts dBm into one of six steps of colour.
export function step(rssi) {
  return rssi >= -50 ? 6 : rssi >= -60 ? 5 : rssi >= -70 ? 4 : rssi >= -80 ? 3 : rssi >= -90 ? 2 : 1;
}

const staleAfter = 30e3;

export const best = (d) => d.sources.reduce((b, s) => (s[1] && s[2] < staleAfter ? Math.max(b, s[1]) : b), -128);
const weak = -85;

// Coarse, so that rows do not dance.
const orders = {
  name: (a, b) => !a.name - !b.name || a.name.localeCompare(b.name),
  rssi: (a, b) => Math.round(best(b) / 6) - Math.round(best(a) / 6),
  weak: (a, b) => Math.round(best(a) / 6) - Math.round(best(b) / 6),
  heard: (a, b) => Math.floor(a.heard / 5000) - Math.floor(b.heard / 5000),
};

export class Heat {
  flash = new Set();
  #table; #rows = new Map(); #columns = ""; #busy = false; #order = []; #sort = ""; #focus = "";

  constructor(table) {
    this.#table = table;
    // Rows stay where they are while somebody points at one or has the focus in the table.
    const body = table.tBodies[0];
    for (const [on, off] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
      body.addEventListener(on, () => { this.#busy = true; });
      body.addEventListener(off, () => { this.#busy = body.contains(document.activeElement) && off === "pointerleave"; });
    }
    body.addEventListener("keydown", (e) => this.#key(e));
    body.addEventListener("focusin", (e) => this.#rove(e.target.closest("tr")));
  }

  // One row is in the order of the tabulator, the arrow keys go from row to row.
  #key(e) {
    const rows = [...this.#table.tBodies[0].rows], at = rows.indexOf(e.target.closest("tr"));
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1, PageDown: at + 10, PageUp: at - 10}[e.key];
    if (to === undefined || at < 0) return;
    e.preventDefault();
    rows[Math.max(0, Math.min(rows.length - 1, to))].querySelector("button").focus();
  }

  #rove(tr) {
    if (!tr) return;
    this.#focus = tr.dataset.address;
    for (const b of this.#table.tBodies[0].querySelectorAll('th button[tabindex="0"]')) b.tabIndex = -1;
    tr.querySelector("button").tabIndex = 0;
  }

  #passes(d, snap) {
    const words = state.f.trim().toLowerCase();
    const heard = d.sources.filter((s) => s[1] && s[2] < staleAfter);
    if (words && !d.name.toLowerCase().includes(words) && !d.address.toLowerCase().includes(words)) return false;
    if (state.proxy && !d.sources.some((s) => snap.proxies[s[0]]?.name === state.proxy)) return false;
    switch (state.only) {
      case "connected": return Boolean(d.connected);
      case "failed": return Boolean(d.error);
      case "one": return heard.length === 1;
      case "weak": return heard.length > 0 && best(d) <= weak;
    }
    return true;
  }

  // show returns how many devices passed the filter.
  show(snap) {
    this.#head(snap.proxies);
    const list = snap.list.filter((d) => this.#passes(d, snap))
      .sort((a, b) => (orders[state.sort] || orders.name)(a, b) || (a.address < b.address ? -1 : 1));
    const view = JSON.stringify([state.sort, state.proxy, state.only, state.f]);
    if (this.#busy && view === this.#sort) {
      const was = new Map(this.#order.map((a, i) => [a, i]));
      list.sort((a, b) => (was.get(a.address) ?? 1e6) - (was.get(b.address) ?? 1e6));
    }
    this.#sort = view;
    this.#order = list.map((d) => d.address);
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
    if (list.length && !body.querySelector('th button[tabindex="0"]')) this.#rove(this.#rows.get(this.#order.includes(this.#focus) ? this.#focus : this.#order[0]).tr);
    return list.length;
  }

  #head(proxies) {
    const columns = JSON.stringify([state.proxy, proxies.map((p) => [p.name, p.state])]);
    if (columns === this.#columns) return;
    const same = this.#columns && JSON.stringify(JSON.parse(this.#columns)[1].map((p) => p[0])) === JSON.stringify(proxies.map((p) => p.name));
    this.#columns = columns;
    const tr = el("tr", "");
    const add = (cls, inside) => {
      const th = el("th", cls, inside);
      th.scope = "col";
      tr.append(th);
      return th;
    };
    add("dev", "Device");
    add("age", "heard");
    for (const p of proxies) {
      const b = el("button", "", el("bdi", "", p.name));
      b.type = "button";
      b.title = p.name + ": " + p.state + "; show only what it hears";
      b.setAttribute("aria-pressed", String(state.proxy === p.name));
      b.addEventListener("click", () => choose({proxy: state.proxy === p.name ? "" : p.name}));
      add(p.state === "online" ? "proxy" : "proxy down", b);
    }
    this.#table.tHead.replaceChildren(tr);
    if (same) return;
    for (const row of this.#rows.values()) row.tr.remove();
    this.#rows.clear();
  }

  #row(address, n) {
    const row = {tr: el("tr", ""), name: el("bdi", "name"), addr: el("span", "addr"), link: el("span", "linked", "connected"), cells: [], age: el("td", "age")};
    const button = el("button", "", row.name, row.addr, row.link);
    button.type = "button";
    button.tabIndex = -1;
    button.setAttribute("aria-controls", "detail");
    button.addEventListener("click", () => choose({dev: state.dev === address ? "" : address}));
    row.button = button;
    row.tr.dataset.address = address;
    const th = el("th", "dev", button);
    th.scope = "row";
    row.tr.append(th, row.age);
    for (let i = 0; i < n; i++) {
      const span = el("span", "");
      row.cells.push(span);
      row.tr.append(el("td", "", span));
    }
    return row;
  }

  #fill(row, d, snap) {
    row.button.setAttribute("aria-expanded", String(d.address === state.dev));
    set(row.name, d.name || "no name", d.name ? "name" : "name none");
    row.name.title = d.name;
    set(row.addr, d.address, "addr");
    set(row.link, d.connected ? "connected" : "connection failed", d.connected ? "linked" : "linked bad");
    row.link.hidden = !d.connected && !d.error;
    set(row.age, ago(d.heard), "age");
    row.tr.classList.toggle("chosen", d.address === state.dev);
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
      set(cell, dBm(s[1]) + (s[3] ? " ★" : ""), cls,
        `${s[1]} dBm at ${snap.proxies[i].name}, ${ago(s[2])}` + (s[3] ? "; the owner of the device" : ""));
    });
  }
}

function set(e, text, cls, title) {
  if (e.textContent !== text) e.textContent = text;
  if (cls !== undefined && e.className !== cls) e.className = cls;
  if (title !== undefined && e.title !== title) e.title = title;
}
