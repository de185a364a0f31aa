// What all parts of the page use.
export const $ = (id) => document.getElementById(id);

// el makes an element with a class and text or children.
export function el(tag, cls, ...inside) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  e.append(...inside);
  return e;
}

// foreign puts a name from outside apart, so that its writing direction stays its own.
export const foreign = (s) => el("bdi", "", s);

export function ago(ms) {
  if (ms < 0) return "never";
  if (ms < 10e3) return "now";
  if (ms < 90e3) return Math.round(ms / 1000) + " s ago";
  if (ms < 90 * 60e3) return Math.round(ms / 60e3) + " min ago";
  return Math.round(ms / 3600e3) + " h ago";
}

// lasts says how long something lasts.
export function lasts(ms) {
  if (ms < 90e3) return Math.round(ms / 1000) + " s";
  return ago(ms).replace(" ago", "");
}

export const dBm = (v) => v.toString().replace("-", "−");

// put changes the content of an element only where it differs, and not while text in it is selected.
export function put(e, key, make) {
  if (e.dataset.key === key) return;
  const selection = getSelection();
  if (selection && !selection.isCollapsed && selection.containsNode(e, true)) return;
  e.dataset.key = key;
  e.replaceChildren(...make());
}
