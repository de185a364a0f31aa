package gatt_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// What operations took is told once each, failures too; Holds lists the slots that are ours.
func TestMeasuredAndHolds(t *testing.T) {
	var mu sync.Mutex
	var got []string
	cfg := gatt.Config{Measured: func(op gatt.Operation, took time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(op, " ", err == nil, " ", took >= 0 && took < time.Second))
	}}
	linked(t, cfg, func(t *testing.T, w *world, _ *gatttest.Proxy, dev *gatttest.Peripheral) {
		holds := w.m.Holds()
		if len(holds) != 1 || holds[0].State != gatt.HoldConnected {
			t.Errorf("with one link: %+v", holds)
		}
		if _, err := w.read(holds[0].Address, 9999); err == nil {
			t.Error("there is no such characteristic")
		}
		done := make(chan error, 1)
		w.Write(holds[0].Address, 9999, []byte{1} /* the fake takes it */, func(err error) { done <- err })
		<-done
		w.disconnect(holds[0].Address)
		settle(10 * time.Second)
		if holds := w.m.Holds(); len(holds) != 0 {
			t.Errorf("after the link: %+v", holds)
		}
	})
	want := []string{
		fmt.Sprint(gatt.OperationConnect, " true true"), fmt.Sprint(gatt.OperationRead, " false true"), fmt.Sprint(gatt.OperationWrite, " true true"),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
