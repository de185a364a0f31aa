package daemon

import (
	"net"
	"strconv"
	"sync"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
)

// An ownAdapter is the adapter hci1…hci8 of one proxy, told apart by its MAC.
type ownAdapter struct {
	mac    ble.Address
	index  int
	table  *scanner.Table
	policy scanner.ModePolicy // under proxySet.mu
}

// adapterSet is the adapters that proxies have of their own.
type adapterSet struct {
	d *Daemon

	attaching sync.Mutex // one at a time: the same proxy may be configured twice

	mu     sync.Mutex
	byMAC  map[ble.Address]*ownAdapter
	warned bool // that there are more proxies than numbers
}

func (s *adapterSet) perProxy() bool { return s.d.opts.Config.Adapters == config.AdaptersPerProxy }

// known gives the adapters of configured proxies that were online in an earlier run: they are there before the proxy
// is online again. With auto_add every proxy may come.
func (s *adapterSet) known() []bluezshim.AdapterConfig {
	if !s.perProxy() {
		return nil
	}
	var out []bluezshim.AdapterConfig
	s.d.store.ProxyAdapters(func(mac ble.Address, index int, info store.ProxyInfo) {
		if info.Name == "" || !s.configured(mac, info) {
			return
		}
		own := s.add(mac, index)
		out = append(out, s.config(own, info, true))
	})
	return out
}

func (s *adapterSet) configured(mac ble.Address, info store.ProxyInfo) bool {
	if s.d.opts.Config.AutoAdd != nil {
		return true
	}
	for _, p := range s.d.opts.Config.Proxies {
		if p.HasMAC && p.MAC == mac || net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))) == info.Endpoint {
			return true
		}
	}
	return false
}

// add makes the view of one proxy.
func (s *adapterSet) add(mac ble.Address, index int) *ownAdapter {
	own := &ownAdapter{mac: mac, index: index, table: scanner.New(scanner.Config{MaxDevices: s.d.opts.Config.MaxDevices, Logger: s.d.log})}
	s.d.store.Devices(func(a ble.Address, st store.DeviceState) {
		if st.Bonded {
			own.table.Keep(a, true)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byMAC == nil {
		s.byMAC = map[ble.Address]*ownAdapter{}
	}
	s.byMAC[mac] = own
	return own
}

func (s *adapterSet) config(own *ownAdapter, info store.ProxyInfo, offline bool) bluezshim.AdapterConfig {
	addr := info.Bluetooth
	if addr == 0 {
		addr = own.mac
	}
	return bluezshim.AdapterConfig{
		Index: own.index, Address: addr, Name: info.Name, Via: info.Name, Offline: offline,
		Air: &air{Table: own.table, modes: s.d.proxies, own: own},
	}
}

// attach gives a proxy that is online its adapter, nil if it has none. It is called in the proxy's reader goroutine,
// before the first advert.
func (s *adapterSet) attach(p *proxy, info apiconn.Info) *ownAdapter {
	if !s.perProxy() {
		return nil
	}
	mac, err := ble.ParseAddress(info.MAC)
	if err != nil {
		s.d.log.Warn("The proxy has no adapter of its own: it does not say its MAC", "proxy", p.Name())
		return nil
	}
	s.attaching.Lock()
	defer s.attaching.Unlock()
	s.mu.Lock()
	own := s.byMAC[mac]
	s.mu.Unlock()
	if own == nil {
		index, ok := s.number(mac)
		if !ok {
			return nil
		}
		own = s.add(mac, index)
	}
	known := store.ProxyInfo{Name: p.Name(), Endpoint: hostPort(p.cfg)}
	if a, err := ble.ParseAddress(info.BluetoothMAC); err == nil {
		known.Bluetooth = a
	}
	s.d.store.SetProxyInfo(mac, known)
	p.mu.Lock()
	p.own = own
	p.mu.Unlock()
	s.d.shim.AddAdapter(s.config(own, known, true)) // or updates it
	s.d.conn.Post(func() { s.d.extendAdapter(own.index, own) })
	return own
}

// number finds hciN for a new proxy. When all are taken, those of proxies that are not configured any more are free.
func (s *adapterSet) number(mac ble.Address) (int, bool) {
	index, ok := s.d.store.ProxyAdapter(mac)
	if ok {
		return index, true
	}
	s.d.store.ProxyAdapters(func(mac ble.Address, _ int, _ store.ProxyInfo) {
		s.mu.Lock()
		used := s.byMAC[mac] != nil
		s.mu.Unlock()
		if !used {
			s.d.store.FreeAdapter(mac)
		}
	})
	if index, ok = s.d.store.ProxyAdapter(mac); ok {
		return index, true
	}
	s.mu.Lock()
	first := !s.warned
	s.warned = true
	s.mu.Unlock()
	if first {
		s.d.log.Warn("More than 8 proxies: the others have no adapter of their own, their devices are on hci0 only")
	}
	return 0, false
}

// each calls f for the merged view and for every proxy's.
func (s *adapterSet) each(f func(*scanner.Table)) {
	f(s.d.table)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, own := range s.byMAC {
		f(own.table)
	}
}
