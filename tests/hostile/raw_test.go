package hostile

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

	"github.com/godbus/dbus/v5"
)

// raw is a bus connection that reads only when it is told to, and never checks what it sends.
type raw struct {
	conn   *net.UnixConn
	in     *bufio.Reader
	serial uint32
}

// rawClient connects and sends Hello; it does not read the answer. It fails if the bus accepts no further connection.
func rawClient(address string) (*raw, error) {
	path := strings.TrimPrefix(strings.Split(address, ",")[0], "unix:path=")
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	for _, line := range []string{fmt.Sprintf("\x00AUTH EXTERNAL %x\r\n", fmt.Sprint(os.Getuid())), "NEGOTIATE_UNIX_FD\r\n"} {
		_, err := conn.Write([]byte(line))
		if err == nil {
			_, err = in.ReadString('\n')
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	r := &raw{conn: conn, in: in}
	if _, err := conn.Write([]byte("BEGIN\r\n")); err != nil {
		_ = conn.Close()
		return nil, err
	}
	hello := message("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
	hello.Headers[dbus.FieldDestination] = dbus.MakeVariant("org.freedesktop.DBus")
	return r, r.send(r.pack(hello))
}

// message is a call of org.bluez.
func message(path dbus.ObjectPath, iface, member string, args ...any) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeMethodCall, Body: args, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant("org.bluez"), dbus.FieldPath: dbus.MakeVariant(path),
		dbus.FieldInterface: dbus.MakeVariant(iface), dbus.FieldMember: dbus.MakeVariant(member),
	}}
	if len(args) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(args...))
	}
	return m
}

// pack encodes messages, with numbers of the connection.
func (r *raw) pack(messages ...*dbus.Message) []byte {
	var out bytes.Buffer
	for _, m := range messages {
		var b bytes.Buffer
		if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
			panic(err)
		}
		r.serial++
		binary.LittleEndian.PutUint32(b.Bytes()[8:], r.serial)
		out.Write(b.Bytes())
	}
	return out.Bytes()
}

func (r *raw) send(b []byte, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	n, _, err := r.conn.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = r.conn.Write(b[n:])
	}
	return err
}

// answered reads until the answer to a call.
func (r *raw) answered(serial uint32) error {
	for {
		m, err := dbus.DecodeMessage(r.in)
		if err != nil {
			return err
		}
		if m.Headers[dbus.FieldReplySerial].Value() == serial {
			return nil
		}
	}
}

// wait waits for the end of the attack without reading.
func (r *raw) wait() error {
	conn, err := r.conn.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(uintptr) bool { return false }) // until it is closed
}

// discard reads and forgets until the connection ends, and gives how much that was.
func (r *raw) discard() (n int64) {
	buf := make([]byte, 256<<10)
	for {
		k, err := r.conn.Read(buf)
		n += int64(k)
		if err != nil {
			return n
		}
	}
}

// attackers are clients that attack until stop. One that has lost its connection connects again.
func (w *world) attack(t testing.TB, n int, stop <-chan struct{}, f func(r *raw, i int) error) (done func() (rounds int)) {
	t.Helper()
	results := make(chan int, n)
	for i := range n {
		go func() {
			rounds := 0
			defer func() { results <- rounds }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := rawClient(w.bus.Address)
				if err != nil {
					continue // the bus is full, or busy
				}
				ended := make(chan struct{})
				go func() { // ends what blocks
					select {
					case <-stop:
					case <-ended:
					}
					_ = r.conn.Close()
				}()
				for err == nil {
					err = f(r, i)
					rounds++
				}
				close(ended)
			}
		}()
	}
	return func() int {
		sum := 0
		for range n {
			sum += <-results
		}
		return sum
	}
}
