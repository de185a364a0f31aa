package scanner

import (
	"encoding/hex"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bluez-esphome/internal/ble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dev ble.Address = 0xAABBCCDDEEFF

var all = []ble.DiscoveryFilter{{}} // a regular session

// air is a table fed by hand, at times counted from a minute after it was made.
type air struct {
	t testing.TB
	*Table
	start time.Time
}

func newAir(t testing.TB, proxies ...string) *air {
	a := &air{t: t, Table: New(Config{}), start: time.Now().Add(time.Minute)}
	t.Cleanup(a.Close)
	for _, p := range proxies {
		a.ProxyUp(p)
	}
	return a
}

func (a *air) at(seconds float64) time.Time {
	return a.start.Add(time.Duration(seconds * float64(time.Second)))
}

func (a *air) hear(seconds float64, proxy string, addr ble.Address, rssi int8, payload string) {
	a.t.Helper()
	data, err := hex.DecodeString(payload)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Adverts(proxy, a.at(seconds), []ble.RawAdvert{{Address: addr, RSSI: rssi, Data: data}})
}

func (a *air) take() []*ble.Report {
	var out []*ble.Report
	a.Take(func(r *ble.Report) { out = append(out, r) })
	return out
}

// payloads takes all reports and gives their payloads in hexadecimal.
func (a *air) payloads() []string {
	var out []string
	for _, r := range a.take() {
		for _, p := range r.Payloads {
			out = append(out, hex.EncodeToString(p.Raw))
		}
	}
	return out
}

func (a *air) owner(addr ble.Address) string {
	owner := ""
	for _, s := range a.Sources(addr) {
		if s.Owner {
			if owner != "" {
				a.t.Errorf("%s has two owners", addr)
			}
			owner = s.Proxy
		}
	}
	return owner
}

func woken(t *Table) bool {
	select {
	case <-t.Changed():
		return true
	default:
		return false
	}
}

func sameTime(a, b time.Time) bool { return a.Equal(b) }
