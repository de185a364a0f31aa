package stream

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/internal/ble"

	"github.com/eclipse/paho.golang/packets"
)

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPublished is what a message costs from the intake to the socket, in CPU of the whole process, by TCP to a peer
// that answers CONNECT and then throws away what it reads; what that peer costs is in it, too. What the benchmark itself costs, measured
// with nothing streamed, is not. A message in batches of 16 is new
// content, as a proxy sends it, 5,000 a second.
func BenchmarkPublished(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := packets.ReadPacket(c); err != nil {
			return
		}
		_, _ = packets.NewControlPacket(packets.CONNACK).WriteTo(c)
		buf := make([]byte, 256<<10)
		for err == nil {
			_, err = c.Read(buf)
		}
	}()
	m := plain()
	at := ln.Addr().(*net.TCPAddr)
	m.Host, m.Port, m.Queue = at.IP.String(), uint16(at.Port), 1_000_000
	g := New(Config{
		Hearing: func(_ ble.Address, _ time.Time, out []Hearing) ([]Hearing, string) {
			return append(out, Hearing{"24:0A:C4:00:00:01", -60}, Hearing{"24:0A:C4:00:00:02", -70}, Hearing{"24:0A:C4:00:00:03", -80}), ""
		},
		Label: func(id string) string { return id }, Proxies: func() []Proxy { return nil }, MaxDevices: 16384,
	})
	g.Apply(m)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Run(ctx) }()
	defer func() { cancel(); <-done }()
	until := func(cond func(Status) bool) {
		for {
			if st, _ := g.Status(); cond(st) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	until(func(st Status) bool { return st.State == Connected })
	batch := make([]ble.RawAdvert, 16)
	for i := range batch {
		batch[i] = ble.RawAdvert{Address: ble.Address(i), RSSI: -60, Data: []byte("\x02\x01\x06\x1b\xff\x99\x04\x05\x12\xfc\x53\x94\xc3\x7c\x00\x04\xff\xfc\x04\x0c\xac\x36\x42\x00\xcd\xcb\xb8\x33\x4c\x88\x4f")}
	}
	feed := func(to *Manager) time.Duration {
		begin, n := cpu(), uint16(0)
		for range b.N {
			n++
			for i := range batch {
				batch[i].Data[9], batch[i].Data[10] = byte(n>>8), byte(n)
			}
			to.Adverts(time.Now(), batch)
			time.Sleep(16 * time.Second / 5000)
		}
		until(func(st Status) bool { return st.Published+st.Dropped == st.Offered })
		return cpu() - begin
	}
	off := feed(New(g.cfg))
	b.ResetTimer()
	on := feed(g)
	b.StopTimer()
	b.ReportMetric(float64(on-off)/float64(b.N*len(batch)), "cpu-ns/message")
	if st, _ := g.Status(); st.Dropped > 0 {
		b.Errorf("%+v", st)
	}
}
