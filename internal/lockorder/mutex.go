//go:build !race

package lockorder

import "sync"

// Mutex is a mutual exclusion lock with a place in the order. The zero value is unlocked. It must not be copied.
type Mutex[R Rank] struct{ sync.Mutex }
