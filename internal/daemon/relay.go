package daemon

import (
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/controllers"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/share"
	"bluez-esphome/internal/sharing"
	"bluez-esphome/internal/stream"
)

// A relay hands what proxies hear to the merged table and to all others that want it.
type relay struct {
	table       *scanner.Table
	sharing     *sharing.Sharer
	controllers *controllers.Set
	stream      *stream.Manager

	mu     lockorder.Mutex[lockorder.Relay] // keeps the merged air in order
	merged []ble.RawAdvert
}

// adverts hands on a batch of the proxy with that ID, which is shared as sh. Hosts that share this proxy, and
// controllers that do not use all proxies, get the batch as it came, and before anybody else. Hosts that share all
// proxies as one, controllers of all proxies and the stream get what the merged table takes for new.
func (r *relay) adverts(id string, sh fleet.Shared, at time.Time, batch []ble.RawAdvert) {
	r.controllers.Heard(id, at, batch)
	if own, ok := sh.(*share.Proxy); ok {
		own.Adverts(batch)
	}
	hosts := r.sharing.Merged()
	if hosts == nil && !r.controllers.WantMerged() && !r.stream.Wants() {
		r.table.Adverts(id, at, batch)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.merged = r.table.Relay(id, at, batch, r.merged[:0])
	if hosts != nil {
		hosts.Adverts(r.merged)
	}
	r.controllers.Adverts(at, r.merged)
	r.stream.Adverts(at, r.merged)
	clear(r.merged) // the data is the session's
}
