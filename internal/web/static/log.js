// The last calls of Connect, with filters.
import {$, el, foreign, put} from "./util.js";
import {state, set} from "./state.js";

export function showLog(snap) {
  const words = state.f.toLowerCase();
  const list = snap.log.filter((c) => (state.log !== "failed" || c.failed) && (!state.dev || c.address === state.dev) &&
    (!words || ((c.name || "") + " " + c.address).toLowerCase().includes(words)) && (!state.proxy || (c.proxies || []).includes(state.proxy)));
  $("log-all").setAttribute("aria-pressed", String(state.log !== "failed"));
  $("log-failed").setAttribute("aria-pressed", String(state.log === "failed"));
  put($("log"), JSON.stringify(list), () => list.map(line));
  $("no-log").hidden = list.length > 0;
  $("no-log").textContent = snap.log.length ? "None of the last connections is chosen by the filters." : "No program or host has asked for a connection since the start.";
}

function line(c) {
  const li = el("li", c.failed ? "failed" : "");
  const who = el("button", "pick", foreign(c.name || c.address));
  who.type = "button";
  who.addEventListener("click", () => set({dev: c.address}));
  li.append(el("time", "", new Date(c.at).toLocaleTimeString()), who, " ", el("span", "what", c.what));
  if (c.asked) li.append(el("span", "muted", " asked by ", foreign(c.asked.join(", "))));
  if (c.tries) li.append(el("ul", "tries", ...c.tries.map((t) => el("li", "", t))));
  return li;
}

export function startLog() {
  $("log-all").addEventListener("click", () => set({log: ""}));
  $("log-failed").addEventListener("click", () => set({log: "failed"}));
}
