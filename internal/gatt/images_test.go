package gatt_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// image gives dev the attributes of one of its firmware images: each has other characteristics at the same handles, of
// which the value is the name. Where it has a Database Hash, that is another one in each.
func image(dev *gatttest.Peripheral, n int, hash bool) {
	shape := thermometer(dev.Address)
	if hash {
		shape = withGATT(shape, fmt.Sprint("hash ", n))
	}
	custom := &shape.Services[1]
	custom.Characteristics = custom.Characteristics[:0]
	for i := range 4 {
		c := ble.Characteristic{ValueHandle: uint16(6 + 2*i), UUID: ble.UUID16(0xff00 + uint16((i+n)%7)), Properties: ble.PropRead}
		custom.Characteristics = append(custom.Characteristics, c)
		shape.Values[c.ValueHandle] = []byte(c.UUID.String())
	}
	dev.Become(shape)
}

// TestValueOfItsUUID: a device boots into one image after another, now and then while it is connected, a moment ago
// was, or a proxy went. Whatever table a caller knows, the present one or an old one, what it reads is a value of the
// characteristic that it means, or an error.
func TestValueOfItsUUID(t *testing.T) {
	reads, refused := 0, 0
	for seed := range uint64(150) {
		for _, hash := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				dev := thermometer(addrA)
				image(dev, 0, hash)
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				proxies := []*gatttest.Proxy{near, far}
				if seed%2 == 1 {
					near.Firmware, far.Firmware = "2025.11.0", "2026.6.0"
				}
				run(t, gatt.Config{}, proxies, func(t *testing.T, w *world) {
					paths := []string{"near", "far"}
					w.hears(addrA, paths...)
					number := 0
					for range 25 {
						switch rnd.IntN(7) {
						case 0, 1:
							_ = w.connect(addrA, "")
						case 2:
							w.disconnect(addrA)
						case 3: // it boots: its link goes, and it is silent for more than a second
							was := time.Now()
							w.air.set(addrA, gatt.Path{Proxy: "near", RSSI: -50, LastHeard: was}, gatt.Path{Proxy: "far", RSSI: -60, LastHeard: was})
							for _, p := range proxies {
								p.DropLink(addrA, []int32{0x08, 0x13}[rnd.IntN(2)])
							}
							synctest.Wait()
							number = rnd.IntN(5)
							image(dev, number, hash)
							settle(1100*time.Millisecond + time.Duration(rnd.IntN(3000))*time.Millisecond)
							w.hears(addrA, paths...)
						case 4: // a proxy goes, and with it the link
							p := proxies[rnd.IntN(2)]
							p.GoOffline()
							settle(time.Duration(rnd.IntN(4000)) * time.Millisecond)
							p.GoOnline()
						case 5:
							settle(time.Duration(rnd.IntN(8000)) * time.Millisecond)
						case 6:
							settle(time.Duration(rnd.IntN(30)) * time.Millisecond)
						}
						w.mu.Lock()
						var db *ble.Database
						if n := len(w.dbs); n > 0 {
							db = w.dbs[n-1-rnd.IntN(min(n, 3))]
						}
						w.mu.Unlock()
						if db == nil {
							continue
						}
						for _, c := range db.Services[1].Characteristics {
							result := make(chan error, 1)
							w.m.Do(addrA, ble.Operation{Kind: ble.OpRead, Handle: c.ValueHandle, Table: db}, func(v []byte, err error) {
								if err == nil && string(v) != c.UUID.String() {
									err = fmt.Errorf("image %d: %w: %s was read, %s meant", number, errWrong, v, c.UUID)
								}
								result <- err
							})
							err := <-result
							switch {
							case errors.Is(err, errWrong):
								t.Errorf("seed %d, hash %v: %v", seed, hash, err)
							case err == nil:
								reads++
							default:
								refused++
							}
						}
					}
				})
			})
		}
	}
	t.Logf("%d values, %d errors", reads, refused)
	if reads < 1000 || refused < 1000 {
		t.Errorf("only %d values and %d errors", reads, refused)
	}
}

var errWrong = errors.New("the value of another characteristic")
