package proxysim

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// trace is what a subscriber of the demo's kitchen hears, to the millisecond.
func trace(t *testing.T) string {
	var b strings.Builder
	specs, err := DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, specs, func(w *world) {
		w.proxy(ProxyConfig{Name: "garage"})
		p := w.proxy(ProxyConfig{})
		start := time.Now()
		c := w.dial(p)
		c.subscribe()
		batches, at := c.adverts(20 * time.Second)
		for i, batch := range batches {
			fmt.Fprintf(&b, "%v %v\n", at[i].Sub(start), batch)
		}
		c.close()
	})
	return b.String()
}

func TestRunsAreTheSame(t *testing.T) {
	first := trace(t)
	if len(first) < 1000 {
		t.Fatalf("a trace of %d bytes", len(first))
	}
	// protobuf varies the spaces of its text form on purpose.
	squeeze := func(s string) string { return strings.ReplaceAll(s, "  ", " ") }
	if diff := cmp.Diff(squeeze(first), squeeze(trace(t))); diff != "" {
		t.Error(diff)
	}
}

func TestNoiseSession(t *testing.T) {
	key, wrong := [32]byte{1, 2, 3}, [32]byte{9}
	synctest.Test(t, func(t *testing.T) {
		air, err := NewAir(nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewProxy(air, ProxyConfig{Name: "noisy", Access: Access{PSK: &key}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		defer wg.Wait()
		defer cancel()
		for _, psk := range [][32]byte{key, wrong} {
			client, server := net.Pipe()
			wg.Go(func() { _ = p.ServeConn(ctx, server) })
			f, hello, err := apiwire.ClientHandshake(client, apiwire.ClientNoise{PSK: psk})
			if hello.Name != "noisy" || len(hello.MAC) != 12 {
				t.Errorf("hello %+v", hello)
			}
			if psk == wrong {
				if !apiwire.AuthFailure(err) {
					t.Errorf("wrong key: %v", err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			buf, _ := f.AppendMessage(nil, &apipb.HelloRequest{ClientInfo: "x"})
			buf, _ = f.AppendMessage(buf, &apipb.DeviceInfoRequest{})
			if _, err := client.Write(buf); err != nil {
				t.Fatal(err)
			}
			for _, want := range []apiwire.ID{apiwire.HelloResponse, apiwire.DeviceInfoResponse} {
				if id, _, err := f.Read(); id != want || err != nil {
					t.Errorf("got %v, %v", id, err)
				}
			}
			_ = client.Close()
		}
	})
}
