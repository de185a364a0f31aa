//go:build race && (amd64 || arm64)

package lockorder

// fieldOfG is the word at that offset, in bytes, in what the runtime keeps of the calling goroutine.
//
//go:noescape
func fieldOfG(offset uintptr) uint64
