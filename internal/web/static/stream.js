// The stream: a whole snapshot first, then what changed. It gives whole snapshots to whoever looks.
const freshFor = 10e3; // the daemon says once a signal is older

export class Stream {
  #snap = null; #devices = new Map(); #show; #lost; #source = null;

  constructor({show, lost}) {
    this.#show = show;
    this.#lost = lost;
    document.addEventListener("visibilitychange", () => document.hidden ? this.#close() : this.#open());
    this.#open();
  }

  #open() {
    if (document.hidden || this.#source) return;
    const es = this.#source = new EventSource("events");
    let first = true;
    es.onopen = () => { first = true; };
    es.onmessage = (e) => {
      const m = JSON.parse(e.data);
      if (m.list) this.#whole(m);
      else if (this.#snap) this.#change(m);
      else return;
      this.#show(this.#now(), first);
      first = false;
    };
    es.onerror = () => {
      this.#lost();
      if (es.readyState !== EventSource.CLOSED) return;
      this.#source = null;
      setTimeout(() => this.#open(), 5000);
    };
  }

  // A tab that nobody looks at costs the daemon nothing.
  #close() {
    this.#source?.close();
    this.#source = null;
  }

  #whole(m) {
    this.#snap = m;
    this.#devices.clear();
    for (const d of m.list) this.#add(d);
  }

  #add(d) {
    const at = performance.now();
    this.#devices.set(d.n, {...d, signals: new Map(d.sources.map((s) => [s[0], {s, at}]))});
  }

  #change(m) {
    const snap = this.#snap;
    for (const [k, v] of Object.entries(m.set || {})) {
      if (k === "proxies") v.forEach((p, i) => {
        const was = snap.proxies[i];
        if (was && was.name === p.name) Object.assign(p, {rate: was.rate, owned: was.owned, heard: was.heard});
      });
      snap[k] = v;
    }
    for (const [i, n] of (m.p || []).entries()) if (snap.proxies[i]) [snap.proxies[i].rate, snap.proxies[i].owned, snap.proxies[i].heard] = n;
    for (const d of m.new || []) this.#add(d);
    for (const [n, ...rest] of m.d || []) {
      const d = this.#devices.get(n);
      if (!d) continue;
      for (let i = 0; i < rest.length; i += 4) {
        const s = rest.slice(i, i + 4);
        if (s[2] < 0) d.signals.delete(s[0]);
        else d.signals.set(s[0], {s, at: performance.now()});
      }
    }
    for (const n of m.gone || []) this.#devices.delete(n);
  }

  #now() {
    const t = performance.now();
    const list = [...this.#devices.values()].map((d) => {
      const sources = [...d.signals.values()].map(({s, at}) => [s[0], s[1], s[2] < freshFor ? 0 : s[2] + t - at, s[3]]);
      const heard = sources.length ? Math.min(...sources.map((s) => s[2])) : d.heard;
      return {...d, name: d.name || "", sources, heard};
    });
    return {...this.#snap, list};
  }
}
