//go:build race

package lockorder

import "runtime"

// goroutine is the number of the calling goroutine. Each lock asks for it, and a stack trace, the documented place to
// find it, took a third of the processor time of the tests: it is read where the runtime keeps it.
func goroutine() uint64 {
	if numberAt == 0 {
		return tracedNumber()
	}
	return fieldOfG(numberAt)
}

// numberAt is the offset of a goroutine's number in what the runtime keeps of it, which differs by version of Go;
// 0 if it was not found.
var numberAt = findNumber()

// findNumber finds the only offset that has the right number in each of some goroutines.
func findNumber() uintptr {
	const words, goroutines = 40, 8 // words that the runtime has in any case
	var fits [words]int
	for range goroutines {
		done := make(chan struct{})
		go func() {
			defer close(done)
			want := tracedNumber()
			for i := range fits {
				if fieldOfG(uintptr(i)*8) == want {
					fits[i]++
				}
			}
		}()
		<-done
	}
	at := uintptr(0)
	for i, n := range fits {
		switch {
		case n < goroutines:
		case at > 0:
			return 0
		default:
			at = uintptr(i) * 8
		}
	}
	return at
}

// tracedNumber is the number of the calling goroutine, as its stack trace has it: "goroutine 7 [running]".
func tracedNumber() uint64 {
	var trace [64]byte // the begin of it
	n := uint64(0)
	for _, c := range trace[len("goroutine "):runtime.Stack(trace[:], false)] {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uint64(c-'0')
	}
	return n
}
