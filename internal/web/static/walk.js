// Walk mode: a phone in the hand, one device, the three proxies that hear it best.
import {$, el, foreign, dBm, put} from "./util.js";
import {state, set} from "./state.js";

const window10 = 10e3;
let device = "", via = "", past = new Map(), best = new Map();

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

export function showWalk(snap) {
  const on = state.walk !== "" && state.dev !== "";
  document.body.classList.toggle("walking", on);
  $("walk").hidden = !on;
  if (!on) return;
  if (device !== state.dev) [device, via, past, best] = [state.dev, "", new Map(), new Map()];
  sample(device);
  const d = snap.list.find((d) => d.address === device);
  $("walk-name").replaceChildren(foreign(d && d.name || device));
  const now = performance.now();
  const rows = [...past].map(([name, list]) => [name, list.filter((v) => now - v.at < window10)]).filter(([, l]) => l.length)
    .map(([name, l]) => ({name, now: l.at(-1).rssi, mid: median(l.map((v) => v.rssi))})).sort((a, b) => b.mid - a.mid);
  for (const r of rows) best.set(r.name, Math.max(best.get(r.name) ?? -128, r.mid));
  $("walk-list").replaceChildren(...rows.slice(0, 3).map((r) => el("li", r.mid > -70 ? "good" : r.mid > -85 ? "fair" : "poor",
    el("b", "", dBm(r.mid)), el("span", "", foreign(r.name), ` now ${dBm(r.now)}, best so far ${dBm(best.get(r.name))}`))));
  $("walk-none").hidden = rows.length > 0;
  put($("walk-none"), via, () => via ? ["It is connected through ", foreign(via), ": a device that is connected often does not advertise."] : ["No proxy hears it now."]);
}

// sample asks for the signals as they are now: those of the stream are smoothed.
async function sample(address) {
  const r = await fetch("api/device?address=" + encodeURIComponent(address)).catch(() => null);
  if (!r || !r.ok || address !== device) return;
  const now = performance.now();
  const d = await r.json();
  via = d.via || "";
  for (const [name, rssi, ms] of d.sources) {
    if (!rssi || ms > window10) continue;
    const list = (past.get(name) || []).filter((v) => now - v.at < window10);
    list.push({at: now, rssi});
    past.set(name, list);
  }
}

export function startWalk() {
  $("walk-begin").addEventListener("click", () => set({walk: "1"}));
  $("walk-end").addEventListener("click", () => set({walk: ""}));
  $("walk-reset").addEventListener("click", () => best.clear());
}
