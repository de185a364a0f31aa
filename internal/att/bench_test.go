package att

import (
	"log/slog"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

// reader gives a function that has a host read a value: request, operation, answer.
func reader() func() {
	value := make([]byte, 20)
	var done func([]byte, error)
	s := New(Config{
		SetSeen: func(Seen) {}, Send: func([]byte) {}, End: func(byte) {}, Log: slog.New(slog.DiscardHandler),
		Do:    func(_ ble.Operation, d func([]byte, error)) { done = d },
		After: func(time.Duration, func()) func() { return func() {} },
	})
	s.Resolved(database(plain()...), 247)
	request, taken := []byte{ble.ATTOpRead, 3, 0}, func() {}
	return func() {
		s.Receive(request, taken)
		done(value, nil)
	}
}

// BenchmarkRead is what the Server adds to a read.
func BenchmarkRead(b *testing.B) {
	read := reader()
	b.ReportAllocs()
	for b.Loop() {
		read()
	}
}

// TestReadAllocates: what a read allocates has a ceiling.
func TestReadAllocates(t *testing.T) {
	if n := testing.AllocsPerRun(100, reader()); n > 6 {
		t.Errorf("%v allocations for a read, want 6 at most", n)
	}
}
