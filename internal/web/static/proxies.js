// The proxies: what is wrong first, then what each is good for.
import {$, el, foreign, ago, put} from "./util.js";
import {state, set} from "./state.js";

const scanWord = {active: "scans actively", passive: "scans passively"};
const slotWord = {connecting: "connecting: ", releasing: "ending: ", foreign: "another host: ", connected: ""};
const cards = new Map();

// wrong is higher the worse it is.
const wrong = (p) => p.state === "online" ? 0 : p.state === "connecting" ? 1 : 2;

export function showProxies(snap, away) {
  const order = snap.proxies.map((p, i) => ({p, i})).sort((a, b) => wrong(b.p) - wrong(a.p) || a.i - b.i);
  const place = $("proxies");
  const seen = new Set();
  order.forEach(({p, i}, at) => {
    const key = i + " " + p.name;
    seen.add(key);
    let c = cards.get(key);
    if (!c) cards.set(key, c = new Card(p.name));
    c.fill(p, snap.advice.proxies[i], away);
    if (place.children[at] !== c.root) place.insertBefore(c.root, place.children[at] || null);
  });
  for (const [k, c] of cards) if (!seen.has(k)) { c.root.remove(); cards.delete(k); }
}

// A Card changes only what differs: text in it can be selected.
class Card {
  constructor(name) {
    this.state = el("span", "state");
    this.facts = el("p", "facts");
    this.worth = el("p", "facts worth");
    this.errors = el("div", "");
    this.slots = el("ul", "slots");
    this.slots.setAttribute("aria-label", "Connection slots");
    this.button = el("button", "pick", foreign(name));
    this.button.type = "button";
    this.button.addEventListener("click", () => set({proxy: state.proxy === name ? "" : name}));
    this.more = el("details", "more", el("summary", "", "details"), this.extra = el("div", ""));
    this.root = el("article", "card", el("div", "top", el("h3", "", this.button), this.state), this.facts, this.worth, this.errors, this.slots, this.more);
  }

  fill(p, w, away) {
    const word = away ? "unknown" : p.state;
    put(this.state, word, () => [word]);
    this.state.className = "state " + word;
    this.button.setAttribute("aria-pressed", String(state.proxy === p.name));
    this.button.title = "Show only what " + p.name + " hears";
    const facts = [(p.rate < 0 ? "–" : p.rate) + " adverts/s", "owner of " + p.owned, p.heard > 10e3 && "heard " + ago(p.heard)].filter(Boolean);
    put(this.facts, facts.join(), () => facts.map((f) => el("span", "", f)));
    if (w) put(this.worth, JSON.stringify(w), () => [el("span", "", `hears ${w.hears}`), el("span", "", `best for ${w.best}`), el("span", w.only ? "strong" : "", `the only one for ${w.only}`),
      ...(w.loses ? [el("span", "lost", `if it fails, ${w.loses} ${w.loses === 1 ? "is" : "are"} lost: `, foreign((w.lost || []).join(", ") + (w.loses > (w.lost || []).length ? "…" : "")))] : [])]);
    put(this.errors, [p.error, p.linkError, p.note].join("\n"), () => [
      ...(p.error ? [el("p", "error", p.error)] : []), ...(p.linkError ? [el("p", "note", "last failure of a connection: " + p.linkError)] : []),
      ...(p.note ? [el("p", "note", p.note)] : [])]);
    put(this.slots, JSON.stringify([p.limit, p.free, p.slots]), () => slots(p));
    this.slots.hidden = p.limit < 0 && !p.slots.length;
    put(this.extra, JSON.stringify([p.host, p.version, p.scan, p.lacks, p.hosts]), () => [
      ...[p.host, p.version && "ESPHome " + p.version, scanWord[p.scan], ...(p.lacks || []).map((l) => "lacks " + l)].filter(Boolean).map((t) => el("p", "note", t)),
      ...(p.hosts || []).map((h) => el("p", "note", "shared: ", foreign(h.name), " has " + (h.has === "both" ? "Bluetooth and entities" : h.has)))]);
  }
}

function slots(p) {
  const list = [el("li", "lead", p.limit < 0 ? "slots" : `${p.limit - p.free} of ${p.limit} slots`)];
  for (const s of p.slots) {
    const li = el("li", s.state, slotWord[s.state] || "", foreign(s.name || s.address));
    const hosts = s.state === "foreign" ? [] : s.owners.filter((o) => o !== "D-Bus");
    if (hosts.length) li.append(" · ", foreign(hosts.join(", ")));
    li.title = `${s.address} ${s.state}, by ${s.owners.join(", ")}`;
    list.push(li);
  }
  const taken = p.limit - p.free - p.slots.filter((s) => s.state !== "connecting").length;
  for (let i = 0; i < Math.min(taken, 16); i++) list.push(el("li", "foreign", "in use"));
  for (let i = 0; i < Math.min(p.free, 16); i++) list.push(el("li", "free", "free"));
  return list;
}

// showControllers says who uses the virtual Bluetooth controllers.
export function showControllers(list) {
  $("controllers").hidden = !list.length;
  put($("controllers"), JSON.stringify(list), () => list.map((c) => el("li", "", "controller ", foreign(c.name), ` (${c.address}): `, [
    c.since < 0 ? "no host" : "a host" + (c.since < 60e3 ? "" : " for " + ago(c.since).replace(" ago", "")), scanWord[c.scan],
    c.links && `${c.links} ${c.links === 1 ? "link" : "links"}`, c.connecting && "connecting",
    c.dropped && `${c.dropped} adverts lost: the host reads too slowly`, c.lost && "its host sent what is no Bluetooth traffic",
  ].filter(Boolean).join(", "))));
}

// showStream says how the stream to a broker stands; s is missing if there is none.
export function showStream(s) {
  $("stream").hidden = !s;
  put($("stream"), JSON.stringify(s), () => s ? [el("li", s.state === "connected" ? "" : "bad", "stream to ", foreign(s.broker), " (", foreign(s.topic), "): ", [
    s.state, `${s.published} published`, `${s.dropped} lost`, s.refused && `${s.refused} refused`, `${s.queued} waiting`,
    s.state !== "connected" && s.remark && "the broker: " + s.remark,
  ].filter(Boolean).join(", "))] : []);
}

// showAdvice says where a proxy is wanted.
export function showAdvice(snap) {
  const a = snap.advice, weak = a.weak;
  const worst = a.proxies.reduce((b, p, i) => p.loses > (b < 0 ? 0 : a.proxies[b].loses) ? i : b, -1);
  put($("advice"), JSON.stringify([weak, a.spot, a.serves, worst, worst >= 0 && a.proxies[worst].loses]), () => {
    const out = [];
    const li = el("li", "", weak ? `${weak} ${weak === 1 ? "device is" : "devices are"} heard by no proxy better than −85 dBm. ` : "Every device is heard better than −85 dBm by some proxy.");
    if (weak) {
      const b = el("button", "", "Show them");
      b.type = "button";
      b.addEventListener("click", () => set({only: "weak", sort: "weak"}));
      li.append(b);
    }
    out.push(li);
    if (a.spot && a.serves) out.push(el("li", "", "A new proxy would serve most beside ", foreign(a.spotName || a.spot), `: ${a.serves === 1 ? "1 device that is badly heard or depends" : a.serves + " devices that are badly heard or depend"} on one proxy.`));
    if (worst >= 0) out.push(el("li", "", "The loss of ", foreign(snap.proxies[worst].name), ` would hurt most: ${a.proxies[worst].loses} ${a.proxies[worst].loses === 1 ? "device" : "devices"}.`));
    return out;
  });
}
