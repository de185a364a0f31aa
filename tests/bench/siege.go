package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

const aboutSiege = `What others can do to somebody's time, and what he notices. Reads: a program on D-Bus reads a value that the peripheral takes 50 ms
for, with up to 50 ms between two reads, while a host that shares the proxy has 64 such reads of the same device under way. The door: 3,000 connections a second that say nothing,
from one address without the key, while a host with a round trip of 20 ms comes, ten times. Health: /healthz, 20 times, while
somebody on this host holds 120 connections of the HTTP listener, and makes a new one for each that he loses. tests/hostile judges the same without a clock.`

const (
	besieged     = "besieged"
	readP99      = "a read, p99, ms"
	siegeAddress = "C0:00:00:00:00:01"
	siegeHandle  = 3
	siegeTrip    = 20 * time.Millisecond
	siegeRate    = 3000 // connections a second
)

func siege(ctx context.Context, w *world, r *result) error {
	for range min(w.rounds, 3) {
		s, err := w.siegeWorld(ctx)
		if err != nil {
			return err
		}
		err = errors.Join(s.reads(ctx, r.group("reads")), s.door(ctx, r.group("door")), s.health(ctx, r.group("health")))
		s.close()
		if err != nil {
			return s.daemon.failed(err)
		}
	}
	r.group("reads").ratio(readP99, besieged, undisturbed, 2)
	r.group("door").atMost("host", "until it is in, longest, s", " s", 5)
	r.group("health").atMost(besieged, "an answer, longest, ms", " ms", 5000)
	return nil
}

// siegeWorld is a simulated proxy that the daemon shares, and a program on D-Bus that is connected to a device.
type siegeWorld struct {
	*world
	sim, daemon *process
	conn        *client
	share       string // the address at which the proxy is shared
}

func (w *world) siegeWorld(ctx context.Context) (_ *siegeWorld, err error) {
	s := &siegeWorld{world: w}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	file := filepath.Join(w.dir, "siege.json")
	type object = map[string]any
	b, err := json.Marshal(object{"devices": []object{{"id": "slow", "address": siegeAddress, "address_type": "random", "connectable": true,
		"advertisement": object{"flags": 6, "local_name": "slow", "interval_ms": 100},
		"gatt": object{"services": []object{{"uuid": "0000ff00-0000-1000-8000-00805f9b34fb", "characteristics": []object{
			{"uuid": "0000ff01-0000-1000-8000-00805f9b34fb", "properties": []string{"read"}, "value": "01", "delay_ms": 50}}}}}}}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return nil, err
	}
	proxy, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s.share, err = freePort(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.share)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	s.sim, err = spawn(ctx, nil, w.simulator, "simulate", "--peripherals", file, "--proxy", "p000="+proxy)
	if err != nil {
		return nil, err
	}
	s.daemon, err = w.daemon(ctx, &proxies{addresses: []string{proxy}}, settings{metrics: true, share: number, shareKey: psk})
	if err != nil {
		return nil, err
	}
	s.conn, err = w.client()
	if err != nil {
		return nil, err
	}
	if err := poll(ctx, "the device to be connected", 100*time.Millisecond, func() bool {
		_ = startDiscovery(ctx, s.conn.Conn)
		return bluez(ctx, s.conn.Conn, devPath(siegeAddress), deviceIface+".Connect").Err == nil && s.read(ctx) == nil
	}); err != nil {
		return nil, s.daemon.failed(err)
	}
	return s, nil
}

func (s *siegeWorld) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.daemon.stop()
	s.sim.stop()
}

func (s *siegeWorld) read(ctx context.Context) error {
	return bluez(ctx, s.conn.Conn, devPath(siegeAddress)+"/service0001/char0002", charIface+".ReadValue", map[string]dbus.Variant{}).Err
}

// host opens a session as another host, over conn.
func (s *siegeWorld) host(conn net.Conn, name string) (*end, error) {
	key, err := base64.StdEncoding.DecodeString(psk)
	if err != nil {
		return nil, err
	}
	f, _, err := apiwire.ClientHandshake(conn, apiwire.ClientNoise{PSK: [32]byte(key)})
	if err != nil {
		return nil, err
	}
	e := &end{conn: conn, f: f}
	if err := e.write(&apipb.HelloRequest{ClientInfo: name, ApiVersionMajor: 1, ApiVersionMinor: 14}); err != nil {
		return nil, err
	}
	return e, e.until(apiwire.HelloResponse)
}

// reads measures reads by D-Bus, first alone and then beside a host that has 64 reads under way.
func (s *siegeWorld) reads(ctx context.Context, g *group) error {
	measure := func(who string) error {
		var took []float64
		for i := range max(3, s.scale(200)) {
			if err := pause(ctx, time.Duration(i*7%50)*time.Millisecond); err != nil {
				return err
			}
			start := time.Now()
			if err := s.read(ctx); err != nil {
				return err
			}
			took = append(took, time.Since(start).Seconds()*1000)
		}
		slices.Sort(took)
		g.add(who, "a read, p50, ms", took[len(took)/2])
		g.add(who, readP99, took[(len(took)*99+99)/100-1])
		return nil
	}
	if err := measure(undisturbed); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", s.share)
	if err != nil {
		return err
	}
	defer conn.Close()
	rogue, err := s.host(conn, "rogue")
	if err != nil {
		return err
	}
	const device = 0xC00000000001
	read := &apipb.BluetoothGATTReadRequest{Address: device, Handle: siegeHandle}
	if err := rogue.write(&apipb.BluetoothDeviceRequest{Address: device, HasAddressType: true, AddressType: 1,
		RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE}); err != nil {
		return err
	}
	if err := rogue.until(apiwire.BluetoothDeviceConnectionResponse); err != nil {
		return err
	}
	if err := rogue.write(slices.Repeat([]proto.Message{read}, 64)...); err != nil {
		return err
	}
	go func() { // ends with the connection
		for rogue.until(apiwire.BluetoothGATTReadResponse) == nil && rogue.write(read) == nil {
		}
	}()
	return measure(besieged)
}

// door measures how long a host with a slow network takes to open a session while an attacker opens connections.
func (s *siegeWorld) door(ctx context.Context, g *group) error {
	ctx, stop := context.WithCancel(ctx)
	var strangers sync.WaitGroup
	defer strangers.Wait()
	defer stop()
	var opened atomic.Int64
	begun := time.Now()
	for range 4 {
		strangers.Go(func() { s.knock(ctx, &opened, siegeRate/4) })
	}
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	longest := 0.0
	for range max(2, s.scale(10)) {
		start := time.Now()
		for {
			conn, err := net.Dial("tcp", s.share)
			if err != nil {
				return err
			}
			_, err = s.host(&far{Conn: conn}, "honest")
			_ = conn.Close()
			if err == nil {
				break
			}
			if time.Since(start) > time.Minute {
				return fmt.Errorf("the host does not get in: %w", err)
			}
		}
		longest = max(longest, time.Since(start).Seconds())
	}
	g.add("host", "until it is in, longest, s", longest)
	g.add("strangers", "connections a second", float64(opened.Load())/time.Since(begun).Seconds())
	return nil
}

// far is a connection with a round-trip time of siegeTrip: each write is sent that much later.
type far struct{ net.Conn }

func (f *far) Write(b []byte) (int, error) {
	time.Sleep(siegeTrip)
	return f.Conn.Write(b)
}

// knock opens rate connections a second from an address of its own, and keeps the last hundred open.
func (s *siegeWorld) knock(ctx context.Context, opened *atomic.Int64, rate int) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	var kept [100]net.Conn
	defer func() {
		for _, c := range kept {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for n := 0; ctx.Err() == nil; {
		for float64(n) < time.Since(begun).Seconds()*float64(rate) && ctx.Err() == nil {
			c, err := d.DialContext(ctx, "tcp", s.share)
			n++
			if err != nil {
				continue
			}
			opened.Add(1)
			if old := kept[n%len(kept)]; old != nil {
				_ = old.Close()
			}
			kept[n%len(kept)] = c
		}
		<-tick.C
	}
}

// health measures answers to health checks, first alone and then while an attacker takes as many connections as it can
// get.
func (s *siegeWorld) health(ctx context.Context, g *group) error {
	measure := func(who string) error {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
		longest, lost := 0.0, 0
		for range 20 {
			start := time.Now()
			for {
				resp, err := client.Get("http://" + s.daemon.http + "/healthz")
				if err == nil {
					_ = resp.Body.Close()
				}
				if err == nil && resp.StatusCode == http.StatusOK {
					break
				}
				lost++
				if time.Since(start) > time.Minute {
					return fmt.Errorf("no health check is answered: %v", err)
				}
			}
			longest = max(longest, time.Since(start).Seconds()*1000)
		}
		g.add(who, "an answer, longest, ms", longest)
		g.add(who, "attempts without one, of 20 and these", float64(lost))
		return nil
	}
	if err := measure(undisturbed); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for i := range 120 {
		request := []string{"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /", ""}[i%3]
		others.Go(func() {
			for ctx.Err() == nil {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", s.daemon.http)
				if err != nil {
					continue
				}
				end := context.AfterFunc(ctx, func() { _ = c.Close() })
				_, _ = io.WriteString(c, request)
				_, _ = io.Copy(io.Discard, c)
				end()
				_ = c.Close()
			}
		})
	}
	return measure(besieged)
}
