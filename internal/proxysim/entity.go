package proxysim

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
)

// EntityKind is what an entity is, in ESPHome's word.
type EntityKind string

// The kinds that a simulated device may have.
const (
	EntityBinarySensor EntityKind = "binary_sensor"
	EntityLight        EntityKind = "light"
	EntitySensor       EntityKind = "sensor"
	EntitySwitch       EntityKind = "switch"
	EntityButton       EntityKind = "button"
)

// entityOrder is that in which a device lists its entities.
var entityOrder = []EntityKind{EntityBinarySensor, EntityLight, EntitySensor, EntitySwitch, EntityButton}

// EntitySpec is one entity of a device that is more than a proxy.
type EntitySpec struct {
	Kind EntityKind
	ID   string // object id, unique on the device: lower-case letters, digits and underscores
	Name string
	// DeviceClass and Unit are Home Assistant's words; only a sensor has a unit.
	DeviceClass, Unit string
	State             EntityState // at first
	// Values, if there are any, are what a sensor takes on one after another, every Every (0: 10 s).
	Values []float64
	Every  time.Duration
	// Restart makes a button restart the device.
	Restart bool
}

// EntityState is the state of an entity; which fields count depends on the kind.
type EntityState struct {
	On         bool    // binary sensor, light, switch
	Brightness float64 // of a light, 0 to 1
	Value      float64 // of a sensor
	Presses    int     // of a button
}

// entity is one entity at work. It belongs to the Air's mutex.
type entity struct {
	EntitySpec
	key   uint32 // by which messages refer to it
	state EntityState
}

// defaultChange is how often a sensor with values changes.
const defaultChange = 10 * time.Second

func newEntities(specs []EntitySpec) ([]*entity, error) {
	var out []*entity
	for _, s := range specs {
		if !slices.Contains(entityOrder, s.Kind) || s.ID == "" {
			return nil, fmt.Errorf("entity %q of kind %q: want an id and one of %v", s.ID, s.Kind, entityOrder)
		}
		h := fnv.New32()
		_, _ = h.Write([]byte(s.ID))
		e := &entity{EntitySpec: s, key: h.Sum32(), state: s.State}
		for _, other := range out {
			if other.key == e.key {
				return nil, fmt.Errorf("entity %q is there twice", s.ID)
			}
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b *entity) int {
		return slices.Index(entityOrder, a.Kind) - slices.Index(entityOrder, b.Kind)
	})
	return out, nil
}

// startEntities lets sensors change by themselves.
func (p *Proxy) startEntities() {
	for _, e := range p.entities {
		if len(e.Values) > 0 {
			p.changeSensor(e, 0)
		}
	}
}

func (p *Proxy) changeSensor(e *entity, n int) {
	every := e.Every
	if every == 0 {
		every = defaultChange
	}
	e.state.Value = e.Values[n%len(e.Values)]
	p.tellState(e)
	p.air.sched.after(every, func() { p.changeSensor(e, n+1) })
}

func (p *Proxy) entity(id string) (*entity, error) {
	for _, e := range p.entities {
		if e.ID == id {
			return e, nil
		}
	}
	return nil, fmt.Errorf("cannot find entity %q of proxy %s", id, p.cfg.Name)
}

// Entity is the present state of an entity.
func (p *Proxy) Entity(id string) (EntityState, error) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	e, err := p.entity(id)
	if err != nil {
		return EntityState{}, err
	}
	return e.state, nil
}

// SetEntity changes the state of an entity, as something at the device does, and tells the clients that want to know.
func (p *Proxy) SetEntity(id string, state EntityState) error {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	e, err := p.entity(id)
	if err != nil {
		return err
	}
	e.state = state
	p.tellState(e)
	return nil
}

// clock is the time as a client told it, and when it did.
type clock struct{ told, at time.Time }

// Clock is the time that a client told a device that asks for it (AskTime) and when it did; zero before.
func (p *Proxy) Clock() (told, at time.Time) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.clock.told, p.clock.at
}

// interest is what a client subscribed to besides the proxy.
type interest struct {
	states   bool
	logLevel uint64 // 0: no log
}

// Other implements apiserver.OtherBackend.
func (p *Proxy) Other(s *apiserver.Session, id apiwire.ID, payload []byte) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	in, ok := p.sessions[s]
	if !ok {
		return
	}
	switch id {
	case apiwire.ListEntitiesRequest:
		for _, e := range p.entities {
			s.Send(e.listed())
		}
		s.Send(apiwire.ListEntitiesDoneResponse, nil)
	case subscribeStatesRequest:
		in.states = true
		for _, e := range p.entities {
			p.sendState(s, e)
		}
	case apiwire.SubscribeLogsRequest:
		in.logLevel = parseFields(payload)[1]
		if parseFields(payload)[2] != 0 { // dump_config
			p.sendLog(s, logConfig, fmt.Sprintf("ESPHome version %s, name %s", p.cfg.Version, p.cfg.Name))
		}
	case apiwire.GetTimeRequest:
		s.Send(apiwire.GetTimeResponse, appendFixed32(nil, 1, uint32(time.Now().Unix())))
	case apiwire.GetTimeResponse:
		p.clock = clock{told: time.Unix(int64(parseFields(payload)[1]), 0), at: time.Now()}
	case lightCommandRequest, switchCommandRequest, buttonCommandRequest:
		p.command(id, parseFields(payload))
	}
}

// command is what a client wants of an entity.
func (p *Proxy) command(id apiwire.ID, f map[int]uint64) {
	i := slices.IndexFunc(p.entities, func(e *entity) bool { return e.key == uint32(f[1]) })
	if i < 0 {
		return
	}
	e := p.entities[i]
	switch {
	case id == lightCommandRequest && e.Kind == EntityLight:
		if f[2] != 0 {
			e.state.On = f[3] != 0
		}
		if f[4] != 0 {
			e.state.Brightness = float64(math.Float32frombits(uint32(f[5])))
		}
	case id == switchCommandRequest && e.Kind == EntitySwitch:
		e.state.On = f[2] != 0
	case id == buttonCommandRequest && e.Kind == EntityButton:
		e.state.Presses++
		p.say(logDebug, fmt.Sprintf("%q pressed", e.Name))
		if e.Restart {
			p.goodbye()
			p.air.sched.after(sleepGrace, func() { p.restart(restartTime) })
		}
	default:
		return
	}
	p.tellState(e)
}

// restartTime is how long a device that was told to restart is away.
const restartTime = 3 * time.Second

// tellState sends the state to the clients that subscribed to states.
func (p *Proxy) tellState(e *entity) {
	for s, in := range p.sessions {
		if in.states {
			p.sendState(s, e)
		}
	}
}

func (p *Proxy) sendState(s *apiserver.Session, e *entity) {
	if id, payload := e.told(); id != 0 {
		s.Send(id, payload)
	}
}
