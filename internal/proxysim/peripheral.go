package proxysim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// defaultRSSI is heard where a peripheral has no RSSI of its own, in dBm.
	defaultRSSI = -60
	// anyProxy stands for the proxies that an RSSI map does not name.
	anyProxy = "*"
	// advDelay is the most that a peripheral adds to each advertising interval
	// (Bluetooth Core, Vol 6 Part B, 4.4.2.2.1).
	advDelay = 10 * time.Millisecond
	// advQuantum is what times of advertising are rounded up to, so that
	// many peripherals share a wake-up.
	advQuantum = 5 * time.Millisecond
	// maxWrites bounds the memory of writes; the oldest go first.
	maxWrites = 65536
)

// Write is a value that was written to a peripheral.
type Write struct {
	Handle uint16   `json:"handle"`
	Value  HexBytes `json:"value"`
}

// bond is what a peripheral remembers of a central.
type bond struct {
	cccd map[uint16]uint16
}

// peripheral is one device on the air. It belongs to the Air's mutex.
type peripheral struct {
	air   *Air
	spec  DeviceSpec
	addrT ble.AddressType
	table *attributeTable
	rng   *rand.Rand

	adv, scanRsp []byte
	both         []byte // one behind the other, as an active scan reports them; never modified
	wanted       bool   // to advertise whenever there is no link
	advertising  *event
	frames       *event
	rssi         map[string]int8 // nil: defaultRSSI everywhere
	unheard      map[string]bool // proxies that rssi's "*" does not stand for
	link         *link
	bonds        map[string]*bond
	writes       []Write
	server       *Server           // another process answers; nil: the table does
	early        map[uint16][]byte // what is notified as soon as it is enabled, by value handle
}

func newPeripheral(spec DeviceSpec) (*peripheral, error) {
	p := &peripheral{spec: spec, bonds: map[string]*bond{}}
	fail := func(err error) (*peripheral, error) {
		return nil, fmt.Errorf("cannot make peripheral %q: %w", spec.ID, err)
	}
	switch spec.AddressType {
	case "", "public":
	case "random":
		p.addrT = ble.Random
	case "public-identity":
		p.addrT = ble.PublicIdentity
	case "random-identity":
		p.addrT = ble.RandomIdentity
	default:
		return fail(fmt.Errorf("address type %q is neither public nor random nor an identity", spec.AddressType))
	}
	var err error
	p.table, err = newAttributeTable(spec.GATT)
	if err != nil {
		return fail(err)
	}
	_, _, err = spec.Advert.payload()
	if err != nil {
		return fail(err)
	}
	for _, f := range spec.Advert.Frames {
		if err := checkPayload(f.RawAdvertisement, f.RawScanResponse); err != nil {
			return fail(err)
		}
	}
	p.rng = rand.New(rand.NewPCG(uint64(spec.Address), 0))
	p.restoreAdvert()
	return p, nil
}

// restoreAdvert sets what the file says of the advertisement.
func (p *peripheral) restoreAdvert() {
	adv, scanRsp, _ := p.spec.Advert.payload() // checked when p was made
	p.setPayload(adv, scanRsp)
	p.rssi, p.unheard = nil, map[string]bool{}
	for _, name := range p.spec.UnheardBy {
		p.unheard[name] = true
	}
	if p.spec.RSSI != nil {
		p.rssi = make(map[string]int8, len(p.spec.RSSI))
		for k, v := range p.spec.RSSI {
			p.rssi[k] = v
		}
	}
	p.wanted = true
}

// setPayload takes the parts, which must not change any more.
func (p *peripheral) setPayload(adv, scanRsp []byte) {
	p.adv, p.scanRsp = adv, scanRsp
	p.both = slices.Concat(adv, scanRsp)
}

func (p *peripheral) interval() time.Duration {
	ms := p.spec.Advert.IntervalMS
	if ms == 0 {
		ms = defaultInterval
	}
	return time.Duration(max(ms, minimumIntervalMS)) * time.Millisecond
}

// start begins to advertise, at a moment of its own within the first interval.
func (p *peripheral) start() {
	p.scheduleAdvert(time.Duration(p.rng.Int64N(int64(p.interval()))))
	p.startFrames(0)
}

func (p *peripheral) scheduleAdvert(d time.Duration) {
	at := time.Now().Add(d)
	if r := at.Truncate(advQuantum); !r.Equal(at) {
		at = r.Add(advQuantum)
	}
	p.advertising = p.air.sched.at(at, p.advertise)
}

// advertise is one advertising event: every proxy that hears it may report it
// or connect.
func (p *peripheral) advertise() {
	p.advertising = nil
	for _, px := range p.air.proxies {
		px.hear(p)
		if p.link != nil {
			return // somebody connected
		}
	}
	p.scheduleAdvert(p.interval() + time.Duration(p.rng.Int64N(int64(advDelay))))
}

func (p *peripheral) stopAdvertising() {
	p.air.sched.stop(p.advertising)
	p.advertising = nil
}

// resumeAdvertising advertises again if it is wanted and possible.
func (p *peripheral) resumeAdvertising() {
	if p.wanted && p.link == nil && p.advertising == nil {
		p.scheduleAdvert(advDelay)
	}
}

// startFrames takes the n-th frame, if there are any, and those after it in time.
func (p *peripheral) startFrames(n int) {
	frames := p.spec.Advert.Frames
	if len(frames) == 0 {
		return
	}
	f := frames[n%len(frames)]
	p.setPayload(f.RawAdvertisement, f.RawScanResponse)
	every := p.spec.Advert.FrameEveryMS
	if every == 0 {
		every = defaultInterval
	}
	p.frames = p.air.sched.after(time.Duration(every)*time.Millisecond, func() { p.startFrames(n + 1) })
}

func (p *peripheral) stopFrames() {
	p.air.sched.stop(p.frames)
	p.frames = nil
}

// rssiAt is the signal strength at a proxy, and whether it is heard at all.
func (p *peripheral) rssiAt(proxy string) (int8, bool) {
	v := int8(defaultRSSI)
	if p.rssi != nil {
		var ok bool
		v, ok = p.rssi[proxy]
		if !ok {
			v, ok = p.rssi[anyProxy]
			if !ok || p.unheard[proxy] {
				return 0, false
			}
		}
	}
	if j := int(p.spec.RSSIJitter); j > 0 {
		v = int8(max(-126, min(-1, int(v)+p.rng.IntN(2*j+1)-j)))
	}
	return v, true
}

// serves reports whether another process answers for that handle: it is a characteristic's value.
func (p *peripheral) serves(handle uint16) bool {
	if p.server == nil {
		return false
	}
	for _, s := range p.table.services {
		for _, c := range s.Characteristics {
			if c.ValueHandle == handle {
				return true
			}
		}
	}
	return false
}

// record remembers a write.
func (p *peripheral) record(handle uint16, value []byte) {
	if len(p.writes) >= maxWrites {
		p.writes = slices.Delete(p.writes, 0, 1)
	}
	p.writes = append(p.writes, Write{handle, value})
}

// changed lets a new advertisement be heard at once, and nothing older after it.
func (p *peripheral) changed() {
	for _, px := range p.air.proxies {
		px.forget(p.spec.Address)
	}
	if p.advertising != nil {
		p.stopAdvertising()
		p.scheduleAdvert(0)
	}
}
