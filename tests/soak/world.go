package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
)

// How much there is.
const (
	proxies = 20
	visible = 500  // devices in the air at a time
	linked  = 30   // of them peripherals that clients connect to
	pool    = 2000 // beacons of which those in the air are drawn: more addresses than there are devices at a time
)

// roomy lets the simulated proxies lose no notification by themselves, as real ones do when their network is slow.
var roomy = apiserver.QueueLimits{Messages: 1 << 16, Bytes: 64 << 20, Notifications: 1 << 16}

// world is the simulation and the daemon.
type world struct {
	s      *soak
	dir    string
	state  string
	sim    *proxysim.Simulation
	stop   context.CancelFunc
	simEnd chan error

	cmd  *exec.Cmd
	bus  string // address
	http string // of the daemon's listener
	logs *os.File
	done chan struct{} // the daemon ended
	read sync.WaitGroup
}

// newWorld starts the simulation and the daemon, and waits until that is ready.
func newWorld(ctx context.Context, s *soak, work string) (*world, error) {
	w := &world{s: s, dir: work, state: filepath.Join(work, "state"), simEnd: make(chan error, 1), done: make(chan struct{})}
	opts := proxysim.Options{Peripherals: devices(s), Log: slog.New(slog.DiscardHandler)}
	for i := range proxies {
		opts.Proxies = append(opts.Proxies, proxysim.ProxySpec{
			ProxyConfig: proxysim.ProxyConfig{Name: proxyName(i), Access: proxysim.Access{PSK: keyOf(i)}, Queue: roomy}, Listen: "127.0.0.1:0",
		})
	}
	var err error
	w.sim, err = proxysim.New(opts)
	if err != nil {
		return nil, err
	}
	for i := visible - linked; i < pool; i++ {
		if err := w.sim.Air().Advertise(beaconID(i), false); err != nil {
			return nil, err
		}
	}
	simCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	go func() { w.simEnd <- w.sim.Run(simCtx) }()
	if err := w.startDaemon(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

const ready = 30 * time.Second

func (w *world) startDaemon(ctx context.Context) error {
	conf := filepath.Join(w.dir, "config.yaml")
	free, err := net.Listen("tcp", "127.0.0.1:0") // the configuration wants a port that is known
	if err != nil {
		return err
	}
	listen := free.Addr().String()
	_ = free.Close()
	if err := os.WriteFile(conf, []byte(w.configuration(listen)), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(w.s.keep, 0o755); err != nil {
		return err
	}
	w.logs, err = os.Create(filepath.Join(w.s.keep, "daemon.log"))
	if err != nil {
		return err
	}
	w.cmd = exec.Command(w.s.bin, "run", "--config", conf, "--bus", "private")
	w.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+w.dir, "RUNTIME_DIRECTORY=", "STATE_DIRECTORY=", "NOTIFY_SOCKET=",
		"JOURNAL_STREAM=", "DBUS_SYSTEM_BUS_ADDRESS=", "BLUEZ_ESPHOME_PPROF=1")
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	logs, err := w.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	bus, page := make(chan string, 1), make(chan string, 1)
	w.read.Go(func() { scan(bufio.NewScanner(out), nil, regexp.MustCompile(`^DBUS_SYSTEM_BUS_ADDRESS=(\S+)`), bus) })
	w.read.Go(func() {
		scan(bufio.NewScanner(logs), w.logged, regexp.MustCompile(`url=(http://\S+)/`), page)
	})
	go func() {
		w.read.Wait()
		_ = w.cmd.Wait() // soak.end looks at the status
		close(w.done)
	}()
	timeout := time.After(ready)
	for w.bus == "" || w.http == "" {
		select {
		case w.bus = <-bus:
		case w.http = <-page:
		case <-w.done:
			said, _ := os.ReadFile(w.logs.Name()) // what can be had of it
			return fmt.Errorf("the daemon ended at once: %s", bytes.TrimSpace(said))
		case <-timeout:
			return fmt.Errorf("the daemon is not ready within %v", ready)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// scan passes each line on and sends the first match of the pattern.
func scan(lines *bufio.Scanner, line func(string), pattern *regexp.Regexp, to chan<- string) {
	lines.Buffer(nil, 1<<20)
	sent := false
	for lines.Scan() {
		if line != nil {
			line(lines.Text())
		}
		if m := pattern.FindStringSubmatch(lines.Text()); m != nil && !sent {
			sent = true
			to <- m[1]
		}
	}
}

// configuration is the daemon's.
func (w *world) configuration(listen string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "state_dir: %s\nhttp: {listen: %q}\nproxies:\n", w.state, listen)
	for i := range proxies {
		key := ""
		if k := keyOf(i); k != nil {
			key = fmt.Sprintf(", noise_psk: %q", keyText(k))
		}
		fmt.Fprintf(&b, "  - {name: %s, address: %q%s}\n", proxyName(i), w.sim.Addr(proxyName(i)).(*net.TCPAddr).String(), key)
	}
	return b.String()
}

// close ends what still runs.
func (w *world) close() {
	if w.cmd != nil && w.cmd.Process != nil {
		select {
		case <-w.done:
		default:
			_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
			<-w.done
		}
	}
	if w.stop != nil {
		w.stop()
		<-w.simEnd
		w.stop = nil
	}
	if w.logs != nil {
		_ = w.logs.Close()
	}
}

// devices are the peripherals: some to connect to, and beacons.
func devices(s *soak) []proxysim.DeviceSpec {
	r := s.rand(0)
	var out []proxysim.DeviceSpec
	near := func() map[string]int8 {
		m := map[string]int8{}
		for _, i := range r.Perm(proxies)[:3] {
			m[proxyName(i)] = int8(-45 - r.IntN(45))
		}
		return m
	}
	for i := range linked {
		out = append(out, proxysim.DeviceSpec{
			ID: linkID(i), Name: "Soak " + linkID(i), Address: linkAddress(i), AddressType: "random", Connectable: true, MTU: 247,
			Advert: proxysim.AdvertSpec{ServiceUUIDs: []ble.UUID{soakService}, LocalName: linkID(i), IntervalMS: 500},
			RSSI:   near(), RSSIJitter: 3, GATT: soakGATT(),
		})
	}
	for i := range pool {
		out = append(out, proxysim.DeviceSpec{
			ID: beaconID(i), Address: 0xd0_5a_00_00_00_00 + ble.Address(i), AddressType: "random",
			Advert: proxysim.AdvertSpec{RawAdvertisement: new(beaconPayload(i, 0)), IntervalMS: uint32(1000 + r.IntN(2000))},
			RSSI:   near(), RSSIJitter: 3,
		})
	}
	return out
}

func soakGATT() proxysim.GATTSpec {
	return proxysim.GATTSpec{Services: []proxysim.ServiceSpec{{UUID: soakService, Characteristics: []proxysim.CharSpec{
		{UUID: numbersUUID, Properties: []string{"notify"}, Descriptors: []proxysim.DescSpec{{UUID: ble.UUIDCCCD, Value: proxysim.HexBytes{0, 0}, Writable: true}}},
		{UUID: registerUUID, Properties: []string{"read", "write"}, Value: proxysim.HexBytes{0}},
	}}}}
}
