package scanner

// HoldProxy keeps the adverts of a proxy from causing the first report of a device, until ReleaseProxy. It is for the
// moment in which a proxy changes to active scanning: what it hears until then lacks the scan response, and clients
// look for the name in the first report. It gives the number of the hold, which is 0 only if there is no such proxy.
func (t *Table) HoldProxy(name string) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.proxies[name]
	if p == nil {
		return 0
	}
	p.holds++
	if p.holds == 0 {
		p.holds = 1
	}
	p.held = p.holds
	return p.held
}

// Held gives the number of the hold of a proxy, 0 if there is none.
func (t *Table) Held(name string) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.proxies[name]; p != nil {
		return p.held
	}
	return 0
}

// ReleaseProxy ends a hold, unless a newer one took its place.
func (t *Table) ReleaseProxy(name string, hold uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.proxies[name]; p != nil && p.held == hold {
		p.held = 0
	}
}
