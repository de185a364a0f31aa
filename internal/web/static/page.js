// The live page: takes one snapshot a second and shows it. What comes from the air or the network is only ever put
// into text nodes.
import {Heat} from "./heat.js";
import {Chart, History} from "./chart.js";

const $ = (id) => document.getElementById(id);

// el makes an element with a class and text or children.
export function el(tag, cls, ...inside) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  e.append(...inside);
  return e;
}

// foreign puts a name from outside apart, so that its writing direction stays its own.
const foreign = (s) => el("bdi", "", s);

export function ago(ms) {
  if (ms < 0) return "never";
  if (ms < 1500) return "now";
  if (ms < 90e3) return Math.round(ms / 1000) + " s ago";
  if (ms < 90 * 60e3) return Math.round(ms / 60e3) + " min ago";
  return Math.round(ms / 3600e3) + " h ago";
}

// Rates come from counters of two snapshots; a smooth number is easier to read.
class Rate {
  #last; #at; #rate;
  next(count) {
    const now = performance.now();
    if (this.#last !== undefined && now > this.#at) {
      const r = Math.max(0, count - this.#last) * 1000 / (now - this.#at);
      this.#rate = this.#rate === undefined ? r : this.#rate * .7 + r * .3;
    }
    this.#last = count;
    this.#at = now;
    return this.#rate === undefined ? "–" : this.#rate < 9.5 ? this.#rate.toFixed(1) : Math.round(this.#rate).toString();
  }
}

const rates = new Map();
function rate(key, count) {
  if (!rates.has(key)) rates.set(key, new Rate());
  return rates.get(key).next(count);
}

const scanWord = {active: "scans actively", passive: "scans passively"};

function card(p) {
  const c = el("article", "card");
  const name = el("h3", "", foreign(p.name));
  name.title = p.host;
  c.append(el("div", "top", name, el("span", "state " + p.state, p.state)));
  const facts = el("p", "facts");
  for (const f of [rate("p " + p.name, p.adverts) + " adverts/s", "speaks for " + p.owned, scanWord[p.scan],
    p.version && "ESPHome " + p.version, p.heard > 5000 && "heard " + ago(p.heard)]) {
    if (f) facts.append(el("span", "", f));
  }
  c.append(facts);
  if (p.hosts) {
    const shared = el("p", "facts");
    for (const h of p.hosts) shared.append(el("span", "", foreign(h.name), " has " + (h.has === "both" ? "Bluetooth and entities" : h.has)));
    c.append(shared);
  }
  if (p.error) c.append(el("p", "error", p.error));
  if (p.limit >= 0 || p.slots.length) c.append(slots(p));
  return c;
}

const slotWord = {connecting: "connecting: ", releasing: "ending: ", foreign: "another host: ", connected: ""};

function slots(p) {
  const list = el("ul", "slots");
  list.setAttribute("aria-label", "Connection slots");
  list.append(el("li", "lead", p.limit < 0 ? "slots" : `${p.limit - p.free} of ${p.limit} slots`));
  for (const s of p.slots) {
    const li = el("li", s.state, slotWord[s.state] || "", foreign(s.name || s.address));
    const hosts = s.state === "foreign" ? [] : s.owners.filter((o) => o !== "D-Bus");
    if (hosts.length) li.append(" · ", foreign(hosts.join(", ")));
    li.title = `${s.address} ${s.state}, by ${s.owners.join(", ")}`;
    list.append(li);
  }
  const taken = p.limit - p.free - p.slots.filter((s) => s.state !== "connecting").length;
  for (let i = 0; i < Math.min(taken, 16); i++) list.append(el("li", "foreign", "in use"));
  for (let i = 0; i < Math.min(p.free, 16); i++) list.append(el("li", "free", "free"));
  return list;
}

// Switches: the proxy that speaks for a device is another one than in the snapshot before.
const owners = new Map();
function switches(snap) {
  const out = [];
  const seen = new Set();
  for (const d of snap.list) {
    seen.add(d.address);
    const s = d.sources.find((s) => s[3]);
    if (!s) continue;
    const now = snap.proxies[s[0]].name, before = owners.get(d.address);
    owners.set(d.address, now);
    if (before !== undefined && before !== now) out.push({device: d, from: before, to: now});
  }
  for (const a of owners.keys()) if (!seen.has(a)) owners.delete(a);
  return out;
}

function log(list) {
  const ol = $("switches");
  for (const s of list) {
    const time = el("time", "", new Date().toLocaleTimeString());
    ol.prepend(el("li", "", time, foreign(s.device.name || s.device.address), ": ", foreign(s.from), " → ", foreign(s.to)));
  }
  while (ol.children.length > 60) ol.lastChild.remove();
  $("calm").hidden = ol.children.length > 0;
}

const past = new History();
const chart = new Chart($("chart"), $("chart-key"), past);
const heat = new Heat($("heat"), {choose: (d) => choose(d)});
let latest;

function choose(device) {
  chart.device = device && device.address;
  heat.chosen = chart.device;
  $("detail").hidden = !device;
  if (device) {
    $("h-detail").replaceChildren(foreign(device.name || "no name"), " · " + device.address);
    chart.draw();
    $("detail").scrollIntoView({block: "nearest"});
  }
  if (latest) heat.show(latest);
}

function show(snap) {
  latest = snap;
  const online = snap.proxies.filter((p) => p.state === "online").length;
  $("summary").textContent = `${online} of ${snap.proxies.length} proxies online · ${snap.devices} devices · ` +
    `${rate("all", snap.adverts)} adverts/s · ${snap.switches} ${snap.switches === 1 ? "switch" : "switches"} of source`;
  $("version").textContent = "bluez-esphome " + snap.version;
  trouble(snap.notReady ? snap.notReady : "");
  $("proxies").replaceChildren(...snap.proxies.map(card));
  past.add(snap);
  const moved = switches(snap);
  log(moved);
  heat.flash = new Set(moved.map((s) => s.device.address));
  const shown = heat.show(snap);
  $("none").hidden = shown > 0;
  $("none").textContent = snap.list.length ? "No device has that in its name or address." : "Nothing heard yet.";
  $("more").hidden = snap.devices <= snap.list.length;
  $("more").textContent = `The ${snap.list.length} devices heard last; ${snap.devices - snap.list.length} more are not shown.`;
  chart.draw();
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function live(on, text) {
  $("live").textContent = text;
  $("live").classList.toggle("on", on);
}

function connect() {
  const es = new EventSource("events");
  es.onmessage = (e) => {
    live(true, "live");
    show(JSON.parse(e.data));
  };
  es.onerror = () => {
    live(false, "reconnecting");
    trouble("No contact with bluez-esphome; what is shown is old.");
    if (es.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
  };
}

$("filter").addEventListener("input", (e) => { heat.filter = e.target.value.trim().toLowerCase(); if (latest) heat.show(latest); });
$("sort").addEventListener("change", (e) => { heat.order = e.target.value; if (latest) heat.show(latest); });
$("close").addEventListener("click", () => choose(null));
document.addEventListener("keydown", (e) => { if (e.key === "Escape") choose(null); });
connect();
