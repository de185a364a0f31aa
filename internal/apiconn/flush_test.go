package apiconn

import (
	"context"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// TestFlush: writes without response are out of our hands when the proxy acknowledged each of them, or when it will not
// any more.
func TestFlush(t *testing.T) {
	for _, tc := range []struct {
		name   string
		writes []uint16
		acks   []uint16
		want   time.Duration
	}{
		{"none", nil, nil, 0},
		{"all acknowledged before", []uint16{7, 7, 9}, []uint16{7, 7, 9}, 0},
		{"one lost", []uint16{7, 7, 9}, []uint16{7, 9}, ackExpiry},
		{"all lost", []uint16{7, 9}, nil, ackExpiry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			withProxy(t, func(t *testing.T, b *bench, far *peer) {
				for _, h := range tc.writes {
					op := ble.Operation{Kind: ble.OpWriteCommand, Handle: h, Value: []byte{1}}
					if _, err := b.p.Do(t.Context(), testAddr, op); err != nil {
						t.Fatal(err)
					}
					want[*apipb.BluetoothGATTWriteRequest](far)
				}
				start := time.Now()
				for _, h := range tc.acks {
					far.send(&apipb.BluetoothGATTWriteResponse{Address: wireAddr, Handle: uint32(h)})
				}
				time.Sleep(time.Millisecond) // the answers are read
				if err := b.p.Flush(t.Context(), testAddr); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took < tc.want || took > tc.want+10*time.Millisecond {
					t.Errorf("took %v, want %v", took, tc.want)
				}
			})
		})
	}
}

// TestFlushWaits: it returns with the last answer, and when its context ends.
func TestFlushWaits(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		op := ble.Operation{Kind: ble.OpWriteCommand, Handle: 7, Value: []byte{1}}
		if _, err := b.p.Do(t.Context(), testAddr, op); err != nil {
			t.Fatal(err)
		}
		want[*apipb.BluetoothGATTWriteRequest](far)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := b.p.Flush(ctx, testAddr); err == nil || time.Since(start) != 300*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		time.AfterFunc(200*time.Millisecond, func() { far.send(&apipb.BluetoothGATTWriteResponse{Address: wireAddr, Handle: 7}) })
		if err := b.p.Flush(t.Context(), testAddr); err != nil || time.Since(start) > 510*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}
