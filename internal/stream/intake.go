package stream

import (
	"hash/maphash"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// intake decides what of the merged air becomes a message, and queues it.
type intake struct {
	filter      *filter
	atMost      int64 // nanoseconds, 0: each change
	atLeast     int64 // nanoseconds, 0: changes only
	maxDevices  int
	seed        maphash.Seed
	epoch       time.Time
	wake        chan struct{} // capacity 1: there is something to do
	gatherUntil int           // so many records are not kept waiting for others

	mu      lockorder.Mutex[lockorder.Leaf]
	queue   queue
	ripe    *time.Timer // of soon; nil before it was needed
	soon    bool        // what is to be done is so within gatherTime
	offered uint64
	dropped uint64
	// What is known of devices: those that were heard lately, and those that were not since some minutes, which make room
	// all at once.
	devices, former map[ble.Address]*device
	turned          int64 // when former was devices last
	late            []*device
}

// device is what was published of a device.
type device struct {
	hash   uint64  // of its newest content
	at     int64   // when it was published last, 0 never
	passes bool    // the filter, at least once
	due    bool    // in intake.late: changed while nothing may be published
	held   *record // what is due
}

// turnEvery is how long a device may be silent before it is forgotten: it is published at once when it is back.
const turnEvery = int64(5 * time.Minute)

func newIntake(f *filter, atMost, atLeast time.Duration, limit, maxDevices int) *intake {
	return &intake{
		filter: f, atMost: int64(atMost), atLeast: int64(atLeast), maxDevices: max(maxDevices, 1), seed: maphash.MakeSeed(),
		epoch: time.Now().Add(-time.Hour), wake: make(chan struct{}, 1),
		gatherUntil: min(gatherMost, limit), queue: queue{limit: limit}, devices: map[ble.Address]*device{},
	}
}

// adverts takes what the merged table took of a batch. Its data is not kept. The goroutine that publishes is woken once for all
// that comes within gatherTime: on a processor with little else to do, waking costs more than publishing.
func (in *intake) adverts(at time.Time, merged []ble.RawAdvert) {
	now, stamp := int64(at.Sub(in.epoch)), at.UnixMilli()
	in.mu.Lock()
	before, held := in.queue.n, len(in.late)
	if now-in.turned > turnEvery {
		in.devices, in.former, in.turned = make(map[ble.Address]*device, len(in.devices)), in.devices, now
	}
	for i := range merged {
		in.advert(now, stamp, &merged[i])
	}
	after := in.queue.n
	switch {
	case before < in.gatherUntil && after >= in.gatherUntil:
		if in.ripe != nil && in.ripe.Stop() {
			in.soon = false
		}
		signal(in.wake)
	case before == 0 && after > 0, len(in.late) > held:
		in.wakeSoon()
	}
	in.mu.Unlock()
}

// wakeSoon wakes the goroutine that publishes gatherTime from now, unless that is to happen earlier. in.mu is held.
func (in *intake) wakeSoon() {
	switch {
	case in.soon:
	case in.ripe == nil:
		in.ripe = time.AfterFunc(gatherTime, func() {
			in.mu.Lock()
			in.soon = false
			in.mu.Unlock()
			signal(in.wake)
		})
	default:
		in.ripe.Reset(gatherTime)
	}
	in.soon = true
}

func (in *intake) advert(now, stamp int64, a *ble.RawAdvert) {
	d := in.device(a.Address)
	hash := maphash.Bytes(in.seed, a.Data)
	changed := hash != d.hash
	if changed {
		d.hash = hash
		if !d.passes {
			d.passes = in.filter.passes(a)
		}
	}
	switch {
	case !d.passes:
	case d.at != 0 && now-d.at < in.atMost:
		if changed || d.due {
			if d.held == nil {
				d.held = new(record)
			}
			d.held.set(stamp, a)
			if !d.due {
				d.due = true
				in.late = append(in.late, d)
				in.offered++
			}
		}
	case changed || d.due || d.at == 0 || in.atLeast > 0 && now-d.at >= in.atLeast:
		if d.due { // it stays in late, and is passed over there
			d.due, d.held = false, nil
		} else {
			in.offered++
		}
		d.at = now
		in.push().set(stamp, a)
	}
}

// device finds or makes what is known of a device.
func (in *intake) device(a ble.Address) *device {
	if d := in.devices[a]; d != nil {
		return d
	}
	d := in.former[a]
	if d == nil {
		d = new(device)
	}
	if len(in.devices) >= in.maxDevices {
		in.devices, in.former = map[ble.Address]*device{}, in.devices
	}
	in.devices[a] = d
	return d
}

func (in *intake) push() *record {
	r, dropped := in.queue.push()
	if dropped {
		in.dropped++
	}
	return r
}

// ripen queues what was held back and may be published now. It says how long the next one has to wait, 0 if there is
// none.
func (in *intake) ripen(at time.Time) (wait time.Duration) {
	now := int64(at.Sub(in.epoch))
	in.mu.Lock()
	defer in.mu.Unlock()
	kept := in.late[:0]
	for _, d := range in.late {
		left := d.at + in.atMost - now
		switch {
		case !d.due:
		case left <= 0:
			d.due, d.at = false, now
			*in.push() = *d.held
			d.held = nil
		default:
			kept = append(kept, d)
			if wait == 0 || time.Duration(left) < wait {
				wait = time.Duration(left)
			}
		}
	}
	clear(in.late[len(kept):])
	in.late = kept
	return wait
}

// take moves the oldest records to out, at most its capacity.
func (in *intake) take(out []record) []record {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.queue.take(out)
}

// giveBack puts records back, so that they are the next ones again. Those without room are dropped, the oldest first.
func (in *intake) giveBack(list []record) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := len(list) - 1; i >= 0; i-- {
		if !in.queue.unpush(&list[i]) {
			in.dropped += uint64(i + 1)
			return
		}
	}
}

// lost counts records that were taken and cannot be published.
func (in *intake) lost(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.dropped += uint64(n)
}

// counts are how many messages were offered and dropped, and how many wait, also for their time.
func (in *intake) counts() (offered, dropped uint64, queued int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	held := 0
	for _, d := range in.late {
		if d.due {
			held++
		}
	}
	return in.offered, in.dropped, in.queue.n + held
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
