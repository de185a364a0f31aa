// The live page. What comes from the air or the network is only ever put into text nodes.
import {$, el, foreign, put} from "./util.js";
import {state, set, onState} from "./state.js";
import {Stream} from "./stream.js";
import {Heat} from "./heat.js";
import {showProxies, showControllers, showStream, showAdvice} from "./proxies.js";
import {showLog, startLog} from "./log.js";
import {showPanel, startPanel} from "./panel.js";
import {showWalk, startWalk} from "./walk.js";

// Switches: the owner of a device is another proxy than in the snapshot before.
const owners = new Map();
function switches(snap) {
  const out = [];
  const seen = new Set();
  for (const d of snap.list) {
    seen.add(d.address);
    const s = d.sources.find((s) => s[3]);
    if (!s || !snap.proxies[s[0]]) continue;
    const now = snap.proxies[s[0]].name, before = owners.get(d.address);
    owners.set(d.address, now);
    if (before !== undefined && before !== now) out.push({device: d, from: before, to: now});
  }
  for (const a of owners.keys()) if (!seen.has(a)) owners.delete(a);
  return out;
}

function note(list) {
  const ol = $("switches");
  for (const s of list) {
    const time = el("time", "", new Date().toLocaleTimeString());
    ol.prepend(el("li", "", time, foreign(s.device.name || s.device.address), ": ", foreign(s.from), " → ", foreign(s.to)));
  }
  while (ol.children.length > 60) ol.lastChild.remove();
  $("calm").hidden = ol.children.length > 0;
}

const heat = new Heat($("heat"));
let latest, away = false;

function show(snap, again) {
  if (again) owners.clear(); // contact is new: who spoke before does not count
  latest = snap;
  away = false;
  live(true, "live");
  trouble(snap.notReady || "");
  const moved = switches(snap);
  note(moved);
  heat.flash = new Set(moved.map((s) => s.device.address));
  render();
}

function render() {
  if (!latest) return;
  const snap = latest;
  const online = snap.proxies.filter((p) => p.state === "online").length, down = snap.proxies.length - online;
  put($("down"), String(away ? 0 : down), () => down && !away ? [`${down} ${down === 1 ? "proxy is" : "proxies are"} not online. `] : []);
  const words = `${online} of ${snap.proxies.length} proxies online · ${snap.devices} devices · ${snap.rate < 0 ? "–" : snap.rate} adverts/s · ` +
    `${snap.switches} ${snap.switches === 1 ? "change" : "changes"} of owner`;
  put($("summary"), words, () => [words]);
  put($("version"), snap.version, () => ["bluez-esphome " + snap.version]);
  put($("remarks"), snap.remarks.join("\n"), () => snap.remarks.map((r) => el("li", "", r)));
  $("remarks").hidden = !snap.remarks.length;
  showProxies(snap, away);
  showControllers(snap.controllers);
  showStream(snap.stream);
  showAdvice(snap);
  showLog(snap);
  for (const [id, key] of [["filter", "f"], ["only", "only"], ["sort", "sort"]]) if ($(id) !== document.activeElement || $(id).tagName === "SELECT") $(id).value = state[key];
  put($("by"), state.proxy, () => state.proxy ? [foreign(state.proxy), " ✕"] : []);
  $("by").hidden = !state.proxy;
  const shown = heat.show(snap);
  $("none").hidden = shown > 0;
  nothing(snap);
  $("more").hidden = snap.devices <= snap.list.length;
  $("more").textContent = `The ${snap.list.length} devices heard last; ${snap.devices - snap.list.length} more are not shown.`;
  showPanel(snap);
  showWalk(snap);
}

// nothing says why the table is empty. Who typed the name of a proxy is offered what that hears.
function nothing(snap) {
  const words = state.f.trim().toLowerCase();
  const p = snap.list.length && words && snap.proxies.find((p) => p.name.toLowerCase().includes(words));
  const text = snap.list.length ? "No device is chosen by the filters. " : "Nothing heard yet.";
  put($("none"), text + (p ? p.name : ""), () => {
    if (!p) return [text];
    const b = el("button", "", "Show what ", foreign(p.name), " hears");
    b.type = "button";
    b.addEventListener("click", () => set({f: "", proxy: p.name}));
    return [text, b];
  });
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function live(on, text) {
  put($("live"), text, () => [text]);
  $("live").classList.toggle("on", on);
}

function lost() {
  away = true;
  live(false, "reconnecting");
  trouble("No contact with bluez-esphome; what is shown is old.");
  render();
}

$("filter").addEventListener("input", (e) => set({f: e.target.value}));
$("sort").addEventListener("change", (e) => set({sort: e.target.value}));
$("only").addEventListener("change", (e) => set({only: e.target.value}));
$("by").addEventListener("click", () => set({proxy: ""}));
startLog();
startPanel();
startWalk();
onState(render);
new Stream({show, lost});
