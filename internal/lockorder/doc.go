// Package lockorder has the locks of the program in the one order in which they may be taken, and a mutex that holds
// everybody to it. Each lock has a rank, a type in order.go, which is named where the lock is declared:
//
//	mu lockorder.Mutex[lockorder.Owners]
//
// A goroutine that holds a lock may take only locks that stand further down. In a program built with the race detector,
// as the tests are, a violation panics with both names, whether or not another goroutine is there to deadlock with.
// Otherwise a Mutex is a sync.Mutex and costs what that does.
//
// The rules behind the order:
//
//   - Nobody is called back with a lock held, but by what package links and the Stores promise to be quick.
//   - A function that expects a lock to be held is called …Locked; other functions take what they need themselves, and say so where
//     callers may hold something.
//   - Nothing that waits, for a peer, the disk or another goroutine, is called with a lock held, but for locks that serialise
//     just that.
package lockorder
