package daemon

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/scanner"
)

// ownAdapter gives a proxy that is online for the first time an adapter of its own, if the
// configuration asks for it. The number belongs to the proxy's MAC and is kept in the state.
func (d *Daemon) ownAdapter(p *proxy, mac, bluetoothMAC string) {
	if d.opts.Config.Adapters != config.AdaptersPerProxy || p.own != nil {
		return
	}
	addr, err := ble.ParseAddress(mac)
	if err != nil {
		d.log.Warn("The proxy has no adapter of its own: it does not say its MAC", "proxy", p.Name())
		return
	}
	index, ok := d.store.ProxyAdapter(addr)
	if !ok {
		d.log.Warn("The proxy has no adapter of its own: hci1 to hci8 belong to others", "proxy", p.Name())
		return
	}
	if own, err := ble.ParseAddress(bluetoothMAC); err == nil {
		addr = own
	}
	p.index = index
	p.own = scanner.New(scanner.Config{MaxDevices: d.opts.Config.MaxDevices, Logger: d.log})
	d.shim.AddAdapter(bluezshim.AdapterConfig{
		Index: index, Address: addr, Name: p.Name(), Via: p.Name(), Air: &air{Table: p.own, modes: d.proxies},
	})
}
