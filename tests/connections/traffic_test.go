package connections

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// pythonVariable names a Python that has the packages of tests/requirements.txt, if it is not that of .venv.
const pythonVariable = "BLUEZ_ESPHOME_PYTHON"

// many is the number of values that are sent at once.
var many = harness.ByNight(2_000, 10_000)

// plenty is more values than the daemon keeps for a client that does not read: 65,536 in its queue, and what the socket
// takes.
const plenty = 80_000

// quick is a world with one proxy and one sensor whose radio takes no time. The proxy drops no notification, as
// the firmware would where the network is slower than the radio: what is lost here was lost by us.
func quick(t *testing.T) (*world, proxysim.DeviceSpec) {
	t.Helper()
	d := sensor(0, "north")
	d.Fast = true
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{
		Name: "north", Queue: apiserver.QueueLimits{Messages: 4096, Bytes: 16 << 20, Notifications: 2 * many},
	}}})
	return w, d
}

func number(i int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(i)) }

// send notifies the numbers 0 to many-1 as fast as the link takes them.
func (w *world) send(d proxysim.DeviceSpec) {
	w.t.Helper()
	for i := range many {
		if err := w.sim.Air().Notify(d.ID, counterHandle, number(i), false); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestNotificationsBleak: bleak gets every notification in order, by AcquireNotify and by StartNotify.
func TestNotificationsBleak(t *testing.T) {
	python := os.Getenv(pythonVariable)
	if python == "" {
		python = harness.Python(t)
	}
	for _, mode := range []string{"acquire", "start"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w, d := quick(t)
			w.Call(adapterPath, adapterIface+".StopDiscovery") // otherwise bleak would hear nothing new
			ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
			defer cancel()
			cmd := exec.CommandContext(ctx, python, "notify_client.py", d.Address.String(), counter.String(), fmt.Sprint(many), mode)
			cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+w.bus)
			var complaint bytes.Buffer
			cmd.Stderr = &complaint
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var said []string
			start := time.Now()
			for lines := bufio.NewScanner(out); lines.Scan(); {
				said = append(said, lines.Text())
				switch lines.Text() {
				case "READY":
					if acquired := w.Get(w.char(devicePath(d), counter), charIface, "NotifyAcquired"); acquired != (mode == "acquire") {
						t.Errorf("NotifyAcquired is %v", acquired)
					}
					start = time.Now()
					w.send(d)
				case "OK":
					t.Logf("%d notifications in %v", many, time.Since(start))
				}
			}
			if err := cmd.Wait(); err != nil || strings.Join(said, " ") != "READY OK" {
				t.Errorf("%v, said %q and complained:\n%s", err, said, complaint.String())
			}
		})
	}
}

// TestNotificationsStartNotify: one client gets every value as a signal, in order.
func TestNotificationsStartNotify(t *testing.T) {
	t.Parallel()
	w, d := quick(t)
	path := devicePath(d)
	w.link(path)
	char := w.char(path, counter)
	signals, stop := w.watch(2*many, dbus.WithMatchObjectPath(char))
	defer stop()
	w.Call(char, charIface+".StartNotify")
	start := time.Now()
	w.send(d)
	w.expectNumbers(signals, many)
	t.Logf("%d notifications in %v", many, time.Since(start))
}

// expectNumbers waits for the values 0 to n-1 of the counter, in order.
func (w *world) expectNumbers(signals chan *dbus.Signal, n int) {
	w.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for next := 0; next < n; {
		select {
		case s := <-signals:
			v, ok := changed(s, charIface, "Value").([]byte)
			if !ok {
				continue
			}
			if got := binary.LittleEndian.Uint32(v); int(got) != next {
				w.t.Fatalf("value %d after %d", got, next-1)
			}
			next++
		case <-timeout.C:
			w.t.Fatalf("%d of %d values came", next, n)
		}
	}
}

// TestNotificationsWithoutReader: a client that acquired notifications and never reads neither ends the link nor
// disturbs it, and reads what waited for it in order once it does.
func TestNotificationsWithoutReader(t *testing.T) {
	t.Parallel()
	w, d := quick(t)
	path := devicePath(d)
	w.link(path)
	var fd dbus.UnixFD
	var mtu uint16
	if err := w.Call(w.char(path, counter), charIface+".AcquireNotify", map[string]dbus.Variant{}).Store(&fd, &mtu); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "notifications")
	defer file.Close()
	const warning = "does not read its notifications"
	for sent := 0; w.logs.count(warning) == 0; sent += many {
		if sent > plenty {
			t.Fatalf("%d values were sent to a client that reads none, and nothing was logged", sent)
		}
		w.send(d)
		// The answer comes after them: they have reached the socket, or the queue before it.
		var value []byte
		if err := w.Call(w.char(path, echo), charIface+".ReadValue", map[string]dbus.Variant{}).Store(&value); err != nil || string(value) != "hello" {
			t.Fatalf("read %q, %v", value, err)
		}
	}
	if w.Get(path, deviceIface, "Connected") != true {
		t.Error("the link ended")
	}
	if n := w.logs.count(warning); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
	if err := file.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	for i := range many {
		n, err := file.Read(buf)
		if err != nil {
			t.Fatalf("value %d: %v", i, err)
		}
		if got := binary.LittleEndian.Uint32(buf[:n]); int(got) != i {
			t.Fatalf("value %d is %d", i, got)
		}
	}
}

// writes waits until the sensor was written to n times. It gives all values, one after the other.
func (w *world) writes(d proxysim.DeviceSpec, n int) []byte {
	w.t.Helper()
	var all []byte
	poll(w.t, fmt.Sprintf("%s was written to %d times", d.ID, n), func() bool {
		s, err := w.sim.Air().Status(d.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(s.Writes) < n {
			return false
		}
		all = nil
		for _, wr := range s.Writes {
			all = append(all, wr.Value...)
		}
		return true
	})
	return all
}

// pattern is a mebibyte in which no two packets are the same.
func pattern() []byte {
	out := make([]byte, 0, 1<<20)
	for i := 0; len(out) < 1<<20; i++ {
		out = append(out, number(i)...)
	}
	return out
}

// TestAcquireWrite: a mebibyte through the socket arrives in order.
func TestAcquireWrite(t *testing.T) {
	t.Parallel()
	w, d := quick(t)
	path := devicePath(d)
	w.link(path)
	var fd dbus.UnixFD
	var mtu uint16
	if err := w.Call(w.char(path, echo), charIface+".AcquireWrite", map[string]dbus.Variant{}).Store(&fd, &mtu); err != nil {
		t.Fatal(err)
	}
	if mtu != 247 {
		t.Errorf("MTU %d", mtu)
	}
	file := os.NewFile(uintptr(fd), "writes")
	defer file.Close()
	start := time.Now()
	data, packets := pattern(), 0
	for rest := data; len(rest) > 0; packets++ {
		n, err := file.Write(rest[:min(len(rest), int(mtu)-3)])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if got := w.writes(d, packets); !bytes.Equal(got, data) {
		t.Errorf("%d bytes arrived, or in another order", len(got))
	}
	t.Logf("1 MiB in %d packets in %v", packets, time.Since(start))
}

// TestWriteCommands: a mebibyte of pipelined WriteValue calls arrives in order.
func TestWriteCommands(t *testing.T) {
	t.Parallel()
	w, d := quick(t)
	path := devicePath(d)
	w.link(path)
	data := pattern()
	var packets [][]byte
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 244)
		packets, rest = append(packets, rest[:n]), rest[n:]
	}
	w.pipeline(path, packets)
	if got := w.writes(d, len(packets)); !bytes.Equal(got, data) {
		t.Errorf("%d bytes arrived, or in another order", len(got))
	}
}

// TestPipelinedWrites: 10,000 numbered writes of one client arrive in the order of the calls.
func TestPipelinedWrites(t *testing.T) {
	t.Parallel()
	w, d := quick(t)
	path := devicePath(d)
	w.link(path)
	packets := make([][]byte, many)
	for i := range packets {
		packets[i] = number(i)
	}
	w.pipeline(path, packets)
	if got := w.writes(d, many); !bytes.Equal(got, bytes.Join(packets, nil)) {
		t.Error("in another order")
	}
}

// pipeline makes all calls without waiting for an answer, and then waits for all.
func (w *world) pipeline(path dbus.ObjectPath, packets [][]byte) {
	w.t.Helper()
	start := time.Now()
	char := w.object(w.char(path, echo))
	done := make(chan *dbus.Call, len(packets))
	command := map[string]dbus.Variant{"type": dbus.MakeVariant("command")}
	for _, p := range packets {
		char.Go(charIface+".WriteValue", 0, done, p, command)
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for range packets {
		select {
		case call := <-done:
			if call.Err != nil {
				w.t.Fatal(call.Err)
			}
		case <-timeout.C:
			w.t.Fatal("not every call was answered")
		}
	}
	w.t.Logf("%d calls in %v", len(packets), time.Since(start))
}
