package proxysim

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// BenchmarkAdvert is one advertising event that two proxies report to a
// subscriber each.
func BenchmarkAdvert(b *testing.B) {
	air, err := NewAir([]DeviceSpec{{ID: "x", Address: 1, Advert: AdvertSpec{LocalName: "benchmark", Appearance: new(uint16)}}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 2)
	for i := range 2 {
		p, err := NewProxy(air, ProxyConfig{Name: fmt.Sprint(i)})
		if err != nil {
			b.Fatal(err)
		}
		client, server := net.Pipe()
		go func() { ended <- p.ServeConn(ctx, server) }()
		f := apiwire.NewPlain(client)
		buf, _ := f.AppendMessage(nil, &apipb.HelloRequest{ClientInfo: "x"})
		buf, _ = f.AppendMessage(buf, &apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
		for range 2 {
			if _, _, err := f.Read(); err != nil {
				b.Fatal(err)
			}
		}
		go func() { _, _ = io.Copy(io.Discard, client) }()
		air.sched.mu.Lock()
		p.setScan(ble.ScannerRunning) // time does not pass here
		air.sched.mu.Unlock()
	}
	per := air.peripherals[0]
	b.ReportAllocs()
	for b.Loop() {
		air.sched.mu.Lock()
		air.sched.stop(per.advertising)
		per.advertise()
		air.sched.mu.Unlock()
	}
	b.StopTimer()
	cancel()
	<-ended
	<-ended
}
