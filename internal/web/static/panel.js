// The panel of the chosen device: what it says of itself, who holds it, and its signal over the last hour.
import {$, el, foreign, lasts, put} from "./util.js";
import {state, set} from "./state.js";
import {Chart} from "./chart.js";

const chart = new Chart($("chart"), $("chart-key"));
let asked = "", at = 0;

export function showPanel(snap) {
  $("detail").hidden = !state.dev;
  if (!state.dev) { asked = ""; return; }
  const d = snap.list.find((d) => d.address === state.dev);
  put($("h-detail"), (d && d.name || "no name") + state.dev, () => [foreign(d && d.name || "no name"), " · " + state.dev]);
  if (asked === state.dev && performance.now() - at < 5000) return;
  const fresh = asked !== state.dev;
  [asked, at] = [state.dev, performance.now()];
  load(state.dev, fresh);
}

async function load(address, fresh) {
  const r = await fetch("api/device?address=" + encodeURIComponent(address)).catch(() => null);
  if (!r || address !== state.dev) return;
  if (!r.ok) {
    put($("facts"), "gone", () => [el("dt", "", "state"), el("dd", "", "It is not heard any more.")]);
    return;
  }
  const d = await r.json();
  const rows = [];
  const row = (name, ...inside) => rows.push([name, inside]);
  if (d.via) row("state", "connected through ", d.via, ` for ${lasts(d.since)}: a device that is connected often does not advertise`);
  else row("state", d.connectable ? "not connected" : "not connected; it does not seem to take connections");
  if (d.owners) row("held by", d.owners.join(", "));
  if (d.names) row("also named", d.names.join(", "));
  row("address", d.type);
  row("adapter", d.adapters.join(", "));
  row("bond", d.bond || "none");
  if (d.error) row("last failure", d.error);
  if (d.interval) row("interval", d.interval < 1000 ? `about ${d.interval} ms` : `about ${(d.interval / 1000).toFixed(1)} s`);
  for (const [name, value] of d.says) row(name, value);
  put($("facts"), JSON.stringify(rows), () => rows.flatMap(([name, inside]) => [el("dt", "", name), el("dd", "", foreign(inside.join("")))]));
  chart.draw(d.past);
  if (fresh) $("detail").scrollIntoView({block: "nearest"});
}

export function startPanel() {
  const close = () => {
    const back = document.querySelector(`tr[data-address="${CSS.escape(state.dev)}"] button`);
    set({dev: "", walk: ""});
    back?.focus();
  };
  $("close").addEventListener("click", close);
  document.addEventListener("keydown", (e) => { if (e.key === "Escape" && state.dev) close(); });
}
