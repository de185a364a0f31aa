package web

import (
	"testing"
	"time"
)

// maxTickAllocs bounds the allocations in a second in which somebody looks at 300 devices that twelve proxies hear.
const maxTickAllocs = 300

// BenchmarkTick measures such a second, without the time that the program itself takes to answer.
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
