package daemon

import (
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/stream"
)

// streamConfig lets the stream to a broker see the merged table and the proxies.
func (d *Daemon) streamConfig() stream.Config {
	return stream.Config{
		Version: d.opts.Version, Installation: d.store.Address(), MaxDevices: d.config().MaxDevices, Logger: d.log,
		Label: func(id string) string { return d.proxies.Label(id) },
		Hearing: func(a ble.Address, since time.Time, out []stream.Hearing) ([]stream.Hearing, string) {
			name := d.table.Hearing(a, since, func(id string, rssi int8) {
				out = append(out, stream.Hearing{Proxy: id, RSSI: rssi})
			})
			return out, name
		},
		Proxies: func() (out []stream.Proxy) {
			for _, p := range d.proxies.All() {
				slots := p.Slots()
				s := stream.Proxy{
					Name: p.Label(), State: p.State().String(), Version: p.Version(), Error: p.LastError(),
					Slots: slots.Limit, FreeSlots: slots.Free,
				}
				s.Via = p.Via()
				if mac := p.MAC(); mac != 0 {
					s.MAC = mac.String()
				}
				out = append(out, s)
			}
			return out
		},
	}
}
