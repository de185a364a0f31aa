package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/mdns"
)

// maxTries is how many proxies are tried at a time.
const maxTries = 32

// A try is a proxy of the configuration and what came of connecting to it.
type try struct {
	config.Proxy
	found apiconn.Probed
	err   error
	twin  *try // another entry that leads to the same device
}

// errTries ends check --try with a status of its own; what is wrong was printed.
var errTries = errors.New("not every proxy can be used")

// tryProxies connects to each proxy of a configuration once, all at the same time, and prints what it found.
func tryProxies(ctx context.Context, w io.Writer, cfg *config.Config, timeout time.Duration, interfaces func() ([]net.Interface, error)) error {
	tries := make([]*try, len(cfg.Proxies))
	resolve, stop := resolver(ctx, cfg.Proxies, interfaces)
	defer stop()
	var wg sync.WaitGroup
	turns := make(chan struct{}, maxTries)
	for i, p := range cfg.Proxies {
		t := &try{Proxy: p}
		tries[i] = t
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			t.probe(ctx, timeout, resolve)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	findTwins(tries)
	return printTries(w, tries, cfg.AutoAdd != nil)
}

// resolver looks names up as the daemon does. Multicast DNS is asked only if a name needs it.
func resolver(ctx context.Context, proxies []config.Proxy, interfaces func() ([]net.Interface, error)) (
	resolve func(context.Context, string) ([]netip.Addr, error), stop func(),
) {
	if !slices.ContainsFunc(proxies, func(p config.Proxy) bool { return mdns.Local(p.Host) }) {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	client := mdns.New(mdns.Config{Service: esphomeService, Interfaces: interfaces})
	var wg sync.WaitGroup
	wg.Go(func() { client.Run(ctx) })
	resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return client.Resolve(ctx, net.DefaultResolver, host)
	}
	return resolve, func() { cancel(); wg.Wait() }
}

// probe fills in what the proxy says.
func (t *try) probe(ctx context.Context, timeout time.Duration, resolve func(context.Context, string) ([]netip.Addr, error)) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ac := apiconn.Config{Name: t.Name, Address: address(t.Proxy), Password: t.Password.Reveal(), ClientInfo: "bluez-esphome check", Resolve: resolve}
	if t.NoisePSK.IsSet() {
		key := t.NoisePSK.Key()
		ac.PSK = &key
	}
	if t.HasMAC {
		ac.ExpectMAC = t.MAC.String()
	}
	t.found, t.err = apiconn.Probe(limited, ac, true)
	var resolving *apiconn.ResolveError
	var dialling *apiconn.DialError
	if t.err != nil && limited.Err() != nil && ctx.Err() == nil && !errors.As(t.err, &resolving) && !errors.As(t.err, &dialling) {
		t.err = fmt.Errorf("it did not answer within %v: check that the device is powered and on the network, or try a longer --timeout", timeout)
	}
}

// findTwins finds the entries that lead to the same device by different addresses.
func findTwins(tries []*try) {
	byMAC := map[string]*try{}
	for _, t := range tries {
		if mac := apiwire.MAC(t.found.MAC); t.err != nil || mac == "" {
			continue
		} else if first := byMAC[mac]; first != nil {
			t.twin = first
		} else {
			byMAC[mac] = t
		}
	}
	for _, t := range tries { // a device says who it is before it looks at the key
		if badKey := (*apiwire.InvalidKeyError)(nil); errors.As(t.err, &badKey) {
			t.twin = byMAC[apiwire.MAC(badKey.MAC)]
		}
	}
}

// problem says why the proxy cannot be used, or nothing.
func (t *try) problem() string {
	switch {
	case t.err != nil && t.twin != nil:
		return fmt.Sprintf("the device says that it is the same as %q (MAC %s), and refused the encryption key: remove one of the two entries",
			label(t.twin.Proxy), apiwire.MAC(t.twin.found.MAC))
	case t.err != nil:
		return t.err.Error()
	case t.twin != nil:
		return fmt.Sprintf("the same device as %q (MAC %s): remove one of the two entries", label(t.twin.Proxy), apiwire.MAC(t.found.MAC))
	case t.found.Features == 0:
		return "this is no Bluetooth proxy: add bluetooth_proxy: to its ESPHome configuration"
	}
	return ""
}

// notes are what is worth a line though the proxy can be used.
func (t *try) notes() (out []string) {
	if t.err != nil {
		return nil
	}
	if n := len(t.found.Slots.Allocated); n > 0 {
		names := make([]string, n)
		for i, a := range t.found.Slots.Allocated {
			names[i] = a.String()
		}
		out = append(out, "another host is connected through it to "+strings.Join(names, ", "))
	}
	switch {
	case strings.HasPrefix(t.found.ServerInfo, sharedBy):
		out = append(out, "it is shared by a bluez-esphome: list this or the original, not both")
	case t.found.EncryptionProvisionable && !t.found.Encrypted:
		out = append(out, "it has no encryption key yet: ESPHome 2027.2 ends access without one for devices whose configuration has encryption:")
	case !t.found.Encrypted && t.NoisePSK.IsSet():
		out = append(out, "its encryption is off")
	}
	return out
}

func printTries(w io.Writer, tries []*try, autoAdd bool) error {
	if len(tries) == 0 {
		text := "there is no proxy to try"
		if autoAdd {
			text += ": auto_add takes what it finds, and bluez-esphome discover shows that"
		}
		_, err := fmt.Fprintln(w, text)
		return err
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROXY\tNAME\tMAC\tESPHOME\tBLUETOOTH\tKEY\tSLOTS\tIN USE BY")
	bad := 0
	for _, t := range tries {
		if t.problem() != "" {
			bad++
		}
		fmt.Fprintln(table, strings.Join(t.cells(), "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if slices.ContainsFunc(tries, func(t *try) bool { return slices.Contains(t.cells(), unknown) }) {
		fmt.Fprintln(w, "\n? no connection is in use; whether another host listens to it cannot be told without taking the proxy")
	}
	if slices.ContainsFunc(tries, func(t *try) bool { return t.err == nil && t.found.Host == apiconn.HostOther }) {
		fmt.Fprintln(w, "\nanother host may be a daemon of yours, too: one that runs with this configuration uses these proxies")
	}
	blank := sync.OnceFunc(func() { fmt.Fprintln(w) })
	for _, t := range tries {
		lines := t.notes()
		if p := t.problem(); p != "" {
			lines = slices.Insert(lines, 0, p)
		}
		for _, line := range lines {
			blank()
			fmt.Fprintf(w, "%s: %s\n", label(t.Proxy), line)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d", errTries, bad, len(tries))
	}
	return nil
}

// cells are a line of the table. All text of the device was cleaned by apiconn.
func (t *try) cells() []string {
	if t.err != nil {
		return []string{label(t.Proxy), "-", "-", "-", "failed", "-", "-", "-"}
	}
	f := t.found
	key := "no"
	if f.Encrypted {
		key = "yes"
	}
	slots, by := "-", unknown
	if f.Slots.Known {
		slots = fmt.Sprintf("%d/%d used", max(0, f.Slots.Limit-f.Slots.Free), f.Slots.Limit)
	}
	switch f.Host {
	case apiconn.HostOther:
		by = "another host"
	case apiconn.HostNone:
		by = "nobody"
	}
	return []string{label(t.Proxy), cmp.Or(f.Name, "-"), cmp.Or(apiwire.MAC(f.MAC), "-"), cmp.Or(f.Version, "-"), abilities(f.Features), key, slots, by}
}

// unknown stands where a device does not say whose it is.
const unknown = "?"

// abilities is what a device can do in a few words. All proxies listen.
func abilities(f ble.Features) string {
	switch {
	case f == 0:
		return "none"
	case !f.Has(ble.FeatureActiveConnections) || !f.Has(ble.FeatureRemoteCaching):
		return "listens"
	case !f.Has(ble.FeaturePairing):
		return "connects"
	}
	return "connects, pairs"
}
