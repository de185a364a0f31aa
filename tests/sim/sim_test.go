// Package sim tests the simulated proxies with ESPHome's own client library.
package sim

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"
)

const peripherals = "../../internal/proxysim/testdata/golden-peripheral.json"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAioesphomeapi(t *testing.T) {
	python := harness.SomePython(t)
	specs, err := proxysim.LoadPeripherals(peripherals)
	if err != nil {
		t.Fatal(err)
	}
	psk := [32]byte{1, 2, 3, 31: 32}
	for _, tt := range []struct {
		name string
		psk  *[32]byte
		key  string
	}{
		{"plain", nil, "-"},
		{"noisy", &psk, base64.StdEncoding.EncodeToString(psk[:])},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			sim, err := proxysim.New(proxysim.Options{
				Peripherals: specs, ControlDir: dir, Log: slog.New(slog.DiscardHandler),
				Proxies: []proxysim.ProxySpec{{
					ProxyConfig: proxysim.ProxyConfig{Name: tt.name, Access: proxysim.Access{PSK: tt.psk}}, Listen: "127.0.0.1:0",
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			done := make(chan error, 1)
			go func() { done <- sim.Run(ctx) }()
			host, port, err := net.SplitHostPort(sim.Addr(tt.name).String())
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(ctx, python, "aio_client.py", host, port, tt.key,
				filepath.Join(dir, "main.sock"), peripherals).CombinedOutput()
			cancel()
			if simErr := <-done; simErr != nil {
				t.Errorf("simulation: %v", simErr)
			}
			if err != nil {
				t.Fatalf("aio_client.py: %v\n%s", err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			fmt.Printf("aioesphomeapi, %s: %s\n", tt.name, lines[len(lines)-1])
		})
	}
}

func TestAioesphomeapiDevice(t *testing.T) {
	python := harness.SomePython(t)
	var proxies []proxysim.ProxySpec
	for _, s := range []string{
		"node=127.0.0.1:0,profile=device,friendly=Climate Node", "new=127.0.0.1:0,keyless", "late=127.0.0.1:0,keyless=1ms",
	} {
		spec, err := proxysim.ParseProxySpec(s)
		if err != nil {
			t.Fatal(err)
		}
		proxies = append(proxies, spec)
	}
	peripherals, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	sim, err := proxysim.New(proxysim.Options{Peripherals: peripherals, Proxies: proxies, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	args := []string{"aio_device.py"}
	for _, p := range proxies {
		host, port, err := net.SplitHostPort(sim.Addr(p.Name).String())
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, host, port)
	}
	out, err := exec.CommandContext(ctx, python, args...).CombinedOutput()
	cancel()
	if simErr := <-done; simErr != nil {
		t.Errorf("simulation: %v", simErr)
	}
	if err != nil {
		t.Fatalf("aio_device.py: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	fmt.Printf("aioesphomeapi, a device with sensors: %s\n", lines[len(lines)-1])
}
