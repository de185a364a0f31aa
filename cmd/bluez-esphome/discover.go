package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/mdns"

	"github.com/spf13/cobra"
)

// esphomeService is what devices with ESPHome's native API announce.
const esphomeService = "_esphomelib._tcp"

// sharedBy is how proxies that are shared begin to say what they are.
const sharedBy = "bluez-esphome "

// maxDiscoverTime bounds --timeout: who wants longer can ask again.
const maxDiscoverTime = time.Minute

// maxKeyFile bounds a key file in bytes.
const maxKeyFile = 4096

// found is one device that was found.
type found struct {
	Name      string   `json:"name"`
	Address   string   `json:"address"` // host:port
	Addresses []string `json:"addresses"`
	MAC       string   `json:"mac,omitempty"`
	Version   string   `json:"version,omitempty"`
	Encrypted bool     `json:"encrypted"`
	// Keyless: it was built with encryption and has no key. ESPHome 2027.2 ends access without one.
	Keyless bool `json:"keyless,omitempty"`
	// Proxy is true or false once the device was asked; nil if that was not possible, and then Error says why.
	Proxy      *bool    `json:"bluetooth_proxy"`
	Features   []string `json:"bluetooth_features,omitempty"`
	abilities  string   // the same in words
	Error      string   `json:"error,omitempty"`
	Configured bool     `json:"configured"`
	// Shared: a bluez-esphome offers it, this host's or another's, and somewhere there is an original.
	Shared bool `json:"shared,omitempty"`
	// Configuration is a line for proxies: in the configuration; empty for what is there already or is no proxy.
	Configuration string `json:"configuration,omitempty"`
}

func newDiscover() *cobra.Command {
	var (
		timeout        time.Duration
		asJSON         bool
		path, pskFile  string
		interfaceNames []string
	)
	c := &cobra.Command{
		Use: "discover", Short: "list the ESPHome devices on the network and how to configure them",
		Long: `discover asks the network by multicast DNS for devices with ESPHome's native API, connects to those it can (without
encryption, or with a key of --config or --psk-file), and prints lines for the configuration. It subscribes to nothing:
a host that uses a proxy keeps it.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if timeout <= 0 || timeout > maxDiscoverTime {
				return &usageError{fmt.Errorf("--timeout %v: want more than 0, at most %v", timeout, maxDiscoverTime)}
			}
			d := discovery{found: map[string]*found{}}
			if err := d.keys(path, pskFile); err != nil {
				return err
			}
			interfaces, err := multicastInterfaces(interfaceNames)
			if err != nil {
				return err
			}
			list := d.run(c.Context(), timeout, interfaces)
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			return printFound(c.OutOrStdout(), list)
		},
	}
	f := c.Flags()
	f.DurationVar(&timeout, "timeout", 5*time.Second, "how long to look")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.StringVar(&path, "config", "", "configuration file with keys; what is in it is marked")
	f.StringVar(&pskFile, "psk-file", "", "file with an encryption key (base64) to try")
	f.StringArrayVar(&interfaceNames, "interface", nil, "network interface to ask on; repeatable (default: all but loopback)")
	return c
}

// discovery is one run.
type discovery struct {
	cfg *config.Config // nil without --config
	psk config.Secret  // of --psk-file

	mu    sync.Mutex
	found map[string]*found // by instance
	wg    sync.WaitGroup
}

func (d *discovery) keys(path, pskFile string) (err error) {
	if path != "" {
		d.cfg, err = loadConfig(path)
		if err != nil {
			return err
		}
	}
	if pskFile == "" {
		return nil
	}
	f, err := os.Open(pskFile)
	if err != nil {
		return fmt.Errorf("cannot read the key: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o006 != 0 {
		return fmt.Errorf("cannot use the key in %s: everybody may read or write it (mode %04o); chmod 0600 it", pskFile, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return fmt.Errorf("cannot read the key: %w", err)
	}
	d.psk, err = config.ParseSecret(string(text))
	if err != nil {
		return fmt.Errorf("cannot use the key in %s: it %w", pskFile, err)
	}
	return nil
}

// run looks for the given time and gives what was found, by name.
func (d *discovery) run(ctx context.Context, timeout time.Duration, interfaces func() ([]net.Interface, error)) []*found {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	mdns.New(mdns.Config{
		Service: esphomeService, Interfaces: interfaces, Found: func(s mdns.Service) { d.add(ctx, s) },
	}).Run(ctx)
	d.wg.Wait()
	list := slices.AppendSeq([]*found{}, maps.Values(d.found)) // not nil: JSON shows []
	slices.SortFunc(list, func(a, b *found) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range list {
		f.configure()
	}
	return list
}

// add takes a device; the first time it is asked what it can do.
func (d *discovery) add(ctx context.Context, s mdns.Service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found[s.Instance] != nil || ctx.Err() != nil {
		return
	}
	port := strconv.Itoa(int(s.Port))
	f := &found{
		Name: apiwire.Printable(s.Instance, 32), Address: net.JoinHostPort(apiwire.Printable(s.Host, 253), port),
		Version: apiwire.Printable(s.Text["version"], 32),
	}
	if a, err := ble.ParseAddress(apiwire.MAC(s.Text["mac"])); err == nil {
		f.MAC = a.String()
	}
	var targets []string
	for _, a := range s.Addrs {
		f.Addresses = append(f.Addresses, a.String())
		targets = append(targets, net.JoinHostPort(a.String(), port))
	}
	_, f.Encrypted = s.Text["api_encryption"]
	_, supported := s.Text["api_encryption_supported"]
	f.Keyless = supported && !f.Encrypted
	key, configured := d.keyOf(s, f)
	f.Configured = configured
	d.found[s.Instance] = f
	if f.Encrypted && !key.IsSet() {
		f.Error = "it is encrypted: give its key with --psk-file or --config to see what it can do"
		return
	}
	d.wg.Go(func() {
		info, err := ask(ctx, targets, key, f.Encrypted)
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			f.Error = strings.ReplaceAll(err.Error(), "\n", "; ") // one for each address
			if ctx.Err() != nil {
				f.Error = "it did not answer in time: try a longer --timeout"
			}
			return
		}
		f.Shared = strings.HasPrefix(info.ServerInfo, sharedBy)
		f.Keyless = !f.Encrypted && (f.Keyless || info.EncryptionProvisionable)
		f.abilities = abilities(info.Features)
		f.Proxy, f.Features, f.Version = new(info.Features != 0), info.Features.Names(), apiwire.Printable(info.Version, 32)
	})
}

// keyOf finds the key for a device, and whether it is configured.
func (d *discovery) keyOf(s mdns.Service, f *found) (config.Secret, bool) {
	key := d.psk
	if d.cfg == nil {
		return key, false
	}
	for _, p := range d.cfg.Proxies {
		label, _, _ := strings.Cut(p.Host, ".")
		ip, err := netip.ParseAddr(p.Host)
		if p.HasMAC && p.MAC.String() == f.MAC || strings.EqualFold(label, s.Instance) || strings.EqualFold(strings.TrimSuffix(p.Host, "."), s.Host) ||
			err == nil && p.Port == s.Port && slices.Contains(s.Addrs, ip) {
			if p.NoisePSK.IsSet() {
				key = p.NoisePSK
			}
			return key, true
		}
	}
	if d.cfg.AutoAdd != nil && d.cfg.AutoAdd.NoisePSK.IsSet() && !key.IsSet() {
		key = d.cfg.AutoAdd.NoisePSK
	}
	return key, false
}

// ask connects to the first address that answers and asks the device about itself.
func ask(ctx context.Context, targets []string, key config.Secret, encrypted bool) (apiconn.Info, error) {
	cfg := apiconn.Config{ClientInfo: "bluez-esphome discover", Dial: (&net.Dialer{Timeout: 2 * time.Second}).DialContext}
	if encrypted {
		k := key.Key()
		cfg.PSK = &k
	}
	var errs []error
	for _, target := range targets {
		cfg.Address = target
		found, err := apiconn.Probe(ctx, cfg, false)
		if err == nil {
			return found.Info, nil
		}
		errs = append(errs, err)
	}
	return apiconn.Info{}, errors.Join(errs...)
}

// configure makes the line for the configuration. All text is the device's own.
func (f *found) configure() {
	if f.Configured || f.Proxy != nil && !*f.Proxy {
		return
	}
	address := strings.TrimSuffix(f.Address, ":"+strconv.Itoa(config.DefaultPort))
	if _, _, err := config.SplitAddress(address); err != nil {
		if len(f.Addresses) == 0 {
			return
		}
		address = f.Addresses[0]
	}
	line := "- {"
	file := "proxy.key"
	if config.CheckName(f.Name) == nil {
		line += fmt.Sprintf("name: %q, ", f.Name)
		file = config.PathElement(f.Name) + ".key"
	}
	line += fmt.Sprintf("address: %q", address)
	if f.MAC != "" {
		line += fmt.Sprintf(", mac: %q", f.MAC)
	}
	if f.Encrypted {
		line += fmt.Sprintf(", noise_psk_file: %q", file)
	}
	f.Configuration = line + "}"
	if f.Shared {
		f.Configuration += " # shared by a bluez-esphome: list this or the original, not both"
	}
}

func printFound(w io.Writer, list []*found) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, `No ESPHome device was found. Multicast DNS does not cross routers and guest networks: run this where the proxies are,
or configure their IP addresses. A device that just started may need longer: try --timeout 20s.`)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tADDRESS\tESPHOME\tENCRYPTED\tBLUETOOTH")
	for _, f := range list {
		encrypted, bluetooth := "no", unknown
		switch {
		case f.Encrypted:
			encrypted = "yes"
		case f.Keyless:
			encrypted = "no key"
		}
		if f.Proxy != nil {
			bluetooth = f.abilities
			if !*f.Proxy {
				bluetooth = "no Bluetooth proxy"
			}
		}
		if f.Configured {
			bluetooth += " (configured)"
		}
		if f.Shared {
			bluetooth += " (shared by a bluez-esphome)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.Name, strings.Join(append([]string{f.Address}, f.Addresses...), " "), f.Version, encrypted, bluetooth)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := io.WriteString(w, unasked(list)+keyless(list)); err != nil {
		return err
	}
	var lines []string
	for _, f := range list {
		if f.Configuration != "" {
			lines = append(lines, "  "+f.Configuration)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, `
%s
For the configuration; a noise_psk_file holds the key of api: encryption: in the device's ESPHome configuration, and
(umask 077; echo KEY >FILE) makes it, beside the configuration:

proxies:
%s
`, oneHost(list), strings.Join(lines, "\n"))
	return err
}

// unasked says of each device whose abilities are not known why, and once what several have in common.
func unasked(list []*found) string {
	var order []string
	whom := map[string][]string{}
	for _, f := range list {
		if f.Error == "" {
			continue
		}
		if whom[f.Error] == nil {
			order = append(order, f.Error)
		}
		whom[f.Error] = append(whom[f.Error], f.Name)
	}
	var b strings.Builder
	for i, text := range order {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s: %s\n", strings.Join(whom[text], ", "), text)
	}
	return b.String()
}

// keyless names those that stop to answer without a key, empty if there are none. A device whose ESPHome configuration
// has no encryption is none of them.
func keyless(list []*found) string {
	var names []string
	for _, f := range list {
		if f.Keyless && (f.Proxy == nil || *f.Proxy) {
			names = append(names, f.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return `
Without a key these stop working here with ESPHome 2027.2: they were built with encryption, and wait for theirs. List them below
proxies: and run bluez-esphome provision NAME, or set api: encryption: key: in their ESPHome configuration.

  no key: ` + strings.Join(names, ", ") + `
`
}

// oneHost says what happens to those of the proxies that Home Assistant uses, and names those that cannot tell it.
func oneHost(list []*found) string {
	var taken []string
	for _, f := range list {
		if f.Configuration != "" && f.cannotTell() {
			taken = append(taken, f.Name)
		}
	}
	const left = `A proxy serves one host at a time. One that Home Assistant uses is left to it`
	if len(taken) == 0 {
		return left + `; home-assistant.md says how both can use it.
`
	}
	return left + `, unless the proxy cannot tell: then it is taken, and
Home Assistant is not told. ESPHome 2026.7 cannot tell, nor can a proxy without connections from 2026.8 on. List these only if
nobody else uses them, or share them: home-assistant.md says how.

  cannot tell: ` + strings.Join(taken, ", ") + `
`
}

// cannotTell reports whether nothing tells if another host has the proxy. One that was not asked for its features is taken
// to make connections.
func (f *found) cannotTell() bool {
	v, known := ble.ParseVersion(f.Version)
	return known && !v.TellsHost(len(f.Features) == 0 || slices.Contains(f.Features, ble.FeatureActiveConnections.String()))
}
