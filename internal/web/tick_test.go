package web

import (
	"testing"
	"time"
)

// maxTickAllocs bounds the allocations that a second costs while somebody looks at 300 devices that twelve proxies hear.
const maxTickAllocs = 300

// BenchmarkTick is such a second, but for what it takes to ask the program.
func BenchmarkTick(b *testing.B) {
	f, pass := noisyHouse()
	now, s := time.Now(), newStream(b, f)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		now = now.Add(time.Second)
		pass(now)
		b.StartTimer()
		s.event(now)
	}
}
