// What is chosen and filtered is in the address, so that a view can be kept, sent and loaded again.
const initial = {f: "", proxy: "", only: "", sort: "name", dev: "", log: "", walk: ""};

export const state = {...initial};
const listeners = [];

export function onState(f) { listeners.push(f); }

export function set(change) {
  Object.assign(state, change);
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(state)) if (v !== initial[k]) q.set(k, v);
  history.replaceState(null, "", q.size ? "#" + q : location.pathname);
  for (const f of listeners) f();
}

function read() {
  const q = new URLSearchParams(location.hash.slice(1));
  for (const k of Object.keys(initial)) state[k] = q.get(k) ?? initial[k];
  for (const f of listeners) f();
}

addEventListener("hashchange", read);
read();
