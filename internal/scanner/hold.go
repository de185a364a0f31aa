package scanner

// HoldProxy makes a proxy's adverts no reason to report a device for the first time. It is for the moment
// in which a proxy changes to active scanning: what it hears until then lacks the scan response, and
// clients look at the first report for the name. It gives the hold's number, never 0 unless there is no such proxy.
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
