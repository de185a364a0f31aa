package tests

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// TestPipelined sends 20,000 calls without waiting for an answer. Each read of the setting sees the write right before
// it.
func TestPipelined(t *testing.T) {
	t.Parallel()
	const pairs = 10_000
	c := newClient(t, harness.Demo(t))
	adapter := c.object(adapterPath)
	replies := make(chan *dbus.Call, 2*pairs)
	gets := make([]*dbus.Call, pairs)
	for i := range pairs {
		adapter.Go(properties+".Set", 0, replies, adapterIface, "Alias", dbus.MakeVariant(fmt.Sprint("n", i)))
		gets[i] = adapter.Go(properties+".Get", 0, replies, adapterIface, "Alias")
	}
	timeout := time.NewTimer(2 * time.Minute)
	defer timeout.Stop()
	for range 2 * pairs {
		select {
		case call := <-replies:
			if call.Err != nil {
				t.Fatal(call.Err)
			}
		case <-timeout.C:
			t.Fatal("not every call was answered")
		}
	}
	wrong := 0
	for i, get := range gets {
		var v dbus.Variant
		if err := get.Store(&v); err != nil {
			t.Fatal(err)
		}
		if v.Value() != fmt.Sprint("n", i) {
			wrong++
			if wrong < 5 {
				t.Errorf("call %d read %v", 2*i+1, v)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d readings out of order", wrong, pairs)
	}
	// The signals came in order too.
	next := 0
	c.until("the last Alias signal", func(s *dbus.Signal) bool {
		if v := changed(s, adapterIface, "Alias"); v != nil {
			var n int
			if _, err := fmt.Sscanf(v.(string), "n%d", &n); err != nil || n < next {
				t.Fatalf("Alias %v after n%d", v, next)
			}
			next = n
		}
		return next == pairs-1
	})
}

// TestForeignDescriptors sends 2,000 messages with file descriptors that no method takes, half of them without any
// argument that refers to one. None stays open, and other clients are served.
func TestForeignDescriptors(t *testing.T) {
	t.Parallel()
	bus := harness.Demo(t)
	c := newClient(t, bus)
	c.Call("/", objectManager+".GetManagedObjects")
	before := bus.Daemon.Descriptors(t)

	raw := rawClient(t, bus.Address)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	for i := range 2000 {
		msg := &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant("org.bluez"),
			dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/bluez/hci0")),
			dbus.FieldInterface:   dbus.MakeVariant(adapterIface),
			dbus.FieldMember:      dbus.MakeVariant([]string{"StartDiscovery", "NoSuchMethod", "GetDiscoveryFilters"}[i%3]),
			dbus.FieldUnixFDs:     dbus.MakeVariant(uint32(1)),
		}}
		if i%2 == 0 {
			msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.ParseSignatureMust("h"))
			msg.Body = []any{uint32(0)} // the first descriptor
		}
		raw.send(t, msg, int(null.Fd()))
	}
	// The daemon has read them all once it answers the last.
	last := &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant("org.bluez"),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/bluez/hci0")),
		dbus.FieldInterface:   dbus.MakeVariant("org.freedesktop.DBus.Peer"),
		dbus.FieldMember:      dbus.MakeVariant("Ping"),
	}}
	raw.waitReply(t, raw.send(t, last))
	if after := bus.Daemon.Descriptors(t); after > before+5 {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
	c.discover(pulsePath)
	c.connect(pulsePath)
}

// TestIntrospectionStorm introspects everything in a loop while devices come and go; a client
// with notifications misses none.
func TestIntrospectionStorm(t *testing.T) {
	t.Parallel()
	bus := harness.Demo(t)
	listener := newClient(t, bus)
	listener.discover(pulsePath)
	listener.connect(pulsePath)
	counter := listener.char(pulsePath, counterUUID)
	listener.Call(counter, charIface+".StartNotify")

	stop := make(chan struct{})
	done := make(chan int, 2)
	storm := newClient(t, bus)
	go func() {
		n := 0
		defer func() { done <- n }()
		for {
			for _, path := range []dbus.ObjectPath{"/", "/org", "/org/bluez", adapterPath, pulsePath, counter, "/org/bluez/hci0/dev_F3_6A_48_10_00_04"} {
				select {
				case <-stop:
					return
				default:
				}
				var xml string
				if err := storm.Try(path, "org.freedesktop.DBus.Introspectable.Introspect").Store(&xml); err == nil && !strings.Contains(xml, "<node") {
					t.Errorf("introspection of %s: %s", path, xml)
				}
				n++
			}
		}
	}()
	churn := newClient(t, bus)
	churn.Call(adapterPath, adapterIface+".StartDiscovery")
	go func() {
		n := 0
		defer func() { done <- n }()
		for {
			for _, dev := range []dbus.ObjectPath{"F3_6A_48_10_00_04", "D2_77_31_10_00_05", "A4_C1_38_10_00_06"} {
				select {
				case <-stop:
					return
				default:
				}
				if churn.Try(adapterPath, adapterIface+".RemoveDevice", adapterPath+"/dev_"+dev).Err == nil {
					n++
				}
			}
		}
	}()
	var last uint32
	values, added := 0, 0
	listener.until("20 notifications", func(s *dbus.Signal) bool {
		if s.Name == objectManager+".InterfacesAdded" {
			added++
		}
		if s.Path != counter {
			return false
		}
		b, ok := changed(s, charIface, "Value").([]byte)
		if !ok || len(b) != 4 {
			return false
		}
		v := binary.BigEndian.Uint32(b)
		values++
		if values > 1 && v != last+1 {
			t.Errorf("notification %d after %d", v, last)
		}
		last = v
		return values == 20
	})
	close(stop)
	t.Logf("%d and %d calls of the others meanwhile, %d objects added", <-done, <-done, added)
	if added == 0 {
		t.Error("no device came and went: the test tested nothing")
	}
}

// send sends a message with descriptors and returns its serial. Only godbus's Conn numbers messages, so the serial is
// put into the encoded header.
func (r *raw) send(t *testing.T, msg *dbus.Message, fds ...int) uint32 {
	t.Helper()
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	r.serial++
	binary.LittleEndian.PutUint32(b.Bytes()[8:], r.serial)
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	if _, _, err := r.conn.WriteMsgUnix(b.Bytes(), rights, nil); err != nil {
		t.Fatal(err)
	}
	return r.serial
}

// waitReply reads until the answer to that serial.
func (r *raw) waitReply(t *testing.T, serial uint32) {
	t.Helper()
	if err := r.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := dbus.DecodeMessage(r.in)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := msg.Headers[dbus.FieldReplySerial]; ok && v.Value() == serial {
			return
		}
	}
}

// raw is a connection to the bus on which the test writes every byte itself.
type raw struct {
	conn   *net.UnixConn
	serial uint32
	in     *bufio.Reader
}

func rawClient(t *testing.T, address string) *raw {
	t.Helper()
	path := strings.TrimPrefix(strings.Split(address, ",")[0], "unix:path=")
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &raw{conn: conn, in: bufio.NewReader(conn)}
	r.say(t, fmt.Sprintf("\x00AUTH EXTERNAL %x\r\n", fmt.Sprint(os.Getuid())), "OK")
	r.say(t, "NEGOTIATE_UNIX_FD\r\n", "AGREE_UNIX_FD")
	if _, err := conn.Write([]byte("BEGIN\r\n")); err != nil {
		t.Fatal(err)
	}
	hello := &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant("org.freedesktop.DBus"),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus")),
		dbus.FieldInterface:   dbus.MakeVariant("org.freedesktop.DBus"),
		dbus.FieldMember:      dbus.MakeVariant("Hello"),
	}}
	r.waitReply(t, r.send(t, hello))
	return r
}

func (r *raw) say(t *testing.T, line, want string) {
	t.Helper()
	if _, err := r.conn.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := r.conn.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
		t.Fatalf("the bus answered %q, %v; want %s", buf[:n], err, want)
	}
}
