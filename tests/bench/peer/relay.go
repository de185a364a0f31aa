package peer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"

	"github.com/godbus/dbus/v5"
	"google.golang.org/protobuf/proto"
)

// RelayConfig says what Relay relays.
type RelayConfig struct {
	Bus string // unix:path=…
	// Proxy is HOST:PORT of a proxy and PSK its key in base64, or "". Device is the address of a device, and Handle the
	// handle that is read.
	Proxy, PSK string
	Device     uint64
	Handle     uint32
}

// Relay does the least that is needed between a call of ReadValue on the bus and a read by a proxy: it takes one call,
// asks the proxy, and passes the answer on, all in one goroutine. It prints READY and its name on the bus, and ends
// with ctx.
func Relay(ctx context.Context, cfg RelayConfig, out io.Writer) error {
	framer, tcp, err := dialProxy(ctx, cfg)
	if err != nil {
		return fmt.Errorf("cannot connect to the proxy: %w", err)
	}
	defer tcp.Close()
	bus, err := dialBus(cfg.Bus)
	if err != nil {
		return fmt.Errorf("cannot connect to the bus: %w", err)
	}
	defer bus.conn.Close()
	defer context.AfterFunc(ctx, func() { _ = bus.conn.Close(); _ = tcp.Close() })()
	if _, err := fmt.Fprintln(out, "READY", bus.name); err != nil {
		return err
	}
	request, err := proto.Marshal(&apipb.BluetoothGATTReadRequest{Address: cfg.Device, Handle: cfg.Handle})
	if err != nil {
		return err
	}
	var frame []byte
	for {
		call, err := dbus.DecodeMessage(bus.in)
		if err != nil {
			return err
		}
		if call.Type != dbus.TypeMethodCall {
			continue
		}
		frame, err = framer.Append(frame[:0], apiwire.BluetoothGATTReadRequest, request)
		if err != nil {
			return err
		}
		if _, err := tcp.Write(frame); err != nil {
			return err
		}
		m, err := await(framer, tcp, apiwire.BluetoothGATTReadResponse)
		if err != nil {
			return err
		}
		err = bus.send(&dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: call.Headers[dbus.FieldSender],
			dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.ParseSignatureMust("ay")),
		}, Body: []any{m.(*apipb.BluetoothGATTReadResponse).GetData()}})
		if err != nil {
			return err
		}
	}
}

func dialProxy(ctx context.Context, cfg RelayConfig) (*apiwire.Framer, net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", cfg.Proxy)
	if err != nil {
		return nil, nil, err
	}
	framer := apiwire.NewPlain(conn)
	if cfg.PSK != "" {
		key, err := apiwire.ParsePSK(cfg.PSK)
		if err != nil {
			return nil, nil, err
		}
		framer, _, err = apiwire.ClientHandshake(conn, apiwire.ClientNoise{PSK: key})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, m := range []proto.Message{
		&apipb.HelloRequest{ClientInfo: "relay", ApiVersionMajor: 1, ApiVersionMinor: 14},
		&apipb.BluetoothDeviceRequest{Address: cfg.Device, HasAddressType: true, AddressType: 1,
			RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE},
	} {
		b, err := framer.AppendMessage(nil, m)
		if err == nil {
			_, err = conn.Write(b)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	_, err = await(framer, conn, apiwire.BluetoothDeviceConnectionResponse)
	return framer, conn, err
}

// await reads until a message of that kind comes.
func await(f *apiwire.Framer, w io.Writer, want apiwire.ID) (proto.Message, error) {
	for {
		id, payload, err := f.Read()
		if err != nil {
			return nil, err
		}
		switch id {
		case want:
			return apiwire.Unmarshal(id, payload)
		case apiwire.PingRequest:
			b, err := f.Append(nil, apiwire.PingResponse, nil)
			if err != nil {
				return nil, err
			}
			if _, err := w.Write(b); err != nil {
				return nil, err
			}
		}
	}
}

// busConn is a connection to a bus that only sends and reads messages.
type busConn struct {
	conn   net.Conn
	in     *bufio.Reader
	out    bytes.Buffer
	serial uint32
	name   string
}

func dialBus(address string) (*busConn, error) {
	conn, err := net.Dial("unix", strings.TrimPrefix(strings.Split(address, ",")[0], "unix:path="))
	if err != nil {
		return nil, err
	}
	b := &busConn{conn: conn, in: bufio.NewReader(conn)}
	if _, err := fmt.Fprintf(conn, "\x00AUTH EXTERNAL %x\r\n", fmt.Sprint(os.Getuid())); err != nil {
		return nil, err
	}
	if line, err := b.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "OK ") {
		return nil, fmt.Errorf("the bus answered %q: %v", line, err)
	}
	if _, err := io.WriteString(conn, "BEGIN\r\n"); err != nil {
		return nil, err
	}
	err = b.send(&dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant("org.freedesktop.DBus"),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus")),
		dbus.FieldInterface:   dbus.MakeVariant("org.freedesktop.DBus"),
		dbus.FieldMember:      dbus.MakeVariant("Hello"),
	}})
	if err != nil {
		return nil, err
	}
	for b.name == "" {
		m, err := dbus.DecodeMessage(b.in)
		if err != nil {
			return nil, err
		}
		if m.Type == dbus.TypeMethodReply {
			b.name, _ = m.Body[0].(string)
		}
	}
	return b, nil
}

// send sends a message with the next serial, which godbus gives only to those of its own connections.
func (b *busConn) send(m *dbus.Message) error {
	b.out.Reset()
	if err := m.EncodeTo(&b.out, binary.LittleEndian); err != nil {
		return err
	}
	b.serial++
	binary.LittleEndian.PutUint32(b.out.Bytes()[8:], b.serial)
	_, err := b.conn.Write(b.out.Bytes())
	return err
}
