package daemon

import (
	"time"

	"bluez-esphome/internal/adapters"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/store"
)

// hooks hand on what proxies do.
type hooks struct{ d *Daemon }

var _ fleet.Hooks = hooks{}

func (h hooks) Online(p *fleet.Proxy) {
	h.d.finder.Online(p)
	h.d.controllers.Online(p)
	h.d.sharing.Up(p)
	h.d.stream.ProxiesChanged()
}

func (h hooks) Offline(p *fleet.Proxy) {
	h.d.controllers.Offline(p)
	h.d.sharing.Down(p)
	h.d.stream.ProxiesChanged()
}

func (h hooks) Displaced(p *fleet.Proxy) { h.d.sharing.Up(p) }

func (h hooks) Adverts(id string, sh fleet.Shared, at time.Time, batch []ble.RawAdvert) {
	h.d.relay.adverts(id, sh, at, batch)
}

func (h hooks) AdapterUsed(own *adapters.Own, info store.ProxyInfo) { h.d.addAdapter(own, info) }

func (h hooks) AdapterOnline(own *adapters.Own, online bool) { h.d.shim.SetOnline(own.Index, online) }

func (h hooks) Unused(id string) { h.d.sharing.Unused(id) }

func (h hooks) Refused(p *fleet.Proxy, why string) { h.d.finder.Refuse(p, why) }

// addAdapter publishes the adapter of a proxy, or what changed of it, while the loop runs.
func (d *Daemon) addAdapter(own *adapters.Own, info store.ProxyInfo) {
	d.shim.AddAdapter(d.adapterConfig(own, info))
	d.conn.Post(func() { d.extendAdapter(own) })
}

// extendAdapter adds what BlueZ does not have to an adapter that is published. In the loop, or before it runs.
func (d *Daemon) extendAdapter(own *adapters.Own) {
	d.radios.Extend(own.Index, own.Table, own.MAC.String)
}

// adapterConfig describes the adapter of a proxy, which is taken to be offline until it says otherwise.
func (d *Daemon) adapterConfig(own *adapters.Own, info store.ProxyInfo) bluezshim.AdapterConfig {
	address := info.Bluetooth
	if address == 0 {
		address = own.MAC
	}
	return bluezshim.AdapterConfig{
		Index: own.Index, Address: address, Name: info.Name, Via: own.MAC.String(), Offline: true,
		Air: &air{Table: own.Table, proxies: d.proxies, own: own},
	}
}
