package proxysim

import (
	"math"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"
)

func TestEntities(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.proxy(ProxyConfig{Entities: DemoEntities()})
		c, _ := w.dialRaw(p, nil)
		c.send(apiwire.ListEntitiesRequest, nil)
		keys := map[string]uint32{}
		for _, id := range []apiwire.ID{
			listBinarySensorResponse, listLightResponse, listSensorResponse, listSensorResponse, listSwitchResponse,
			listButtonResponse, listButtonResponse,
		} {
			payload := c.next(id)
			keys[strings.ToLower(string(payload[2:2+payload[1]]))] = uint32(parseFields(payload)[2])
		}
		c.next(apiwire.ListEntitiesDoneResponse)
		state := func(id apiwire.ID, name string) map[int]uint64 {
			t.Helper()
			f := parseFields(c.next(id))
			if uint32(f[1]) != keys[name] {
				t.Errorf("the state of key %x, want that of %s", f[1], name)
			}
			return f
		}
		c.send(subscribeStatesRequest, nil)
		state(binarySensorState, "motion")
		state(lightState, "status_light")
		if v := state(sensorState, "temperature")[2]; math.Float32frombits(uint32(v)) != 21.4 {
			t.Errorf("temperature %x", v)
		}
		state(sensorState, "humidity")
		state(switchState, "relay")
		// It changes by itself, and by what is done to it.
		if v := state(sensorState, "temperature")[2]; math.Float32frombits(uint32(v)) != 21.5 {
			t.Errorf("temperature %x", v)
		}
		command := appendFixed32(nil, 1, keys["status_light"])
		command = appendVarint(appendVarint(command, 2, 1), 4, 1) // has a state, which is off, and a brightness
		c.send(lightCommandRequest, appendFloat(command, 5, 0.25))
		if f := state(lightState, "status_light"); f[2] != 0 || math.Float32frombits(uint32(f[3])) != 0.25 {
			t.Errorf("light %v", f)
		}
		c.send(switchCommandRequest, appendVarint(appendFixed32(nil, 1, keys["relay"]), 2, 1))
		if f := state(switchState, "relay"); f[2] != 1 {
			t.Errorf("switch %v", f)
		}
		c.send(apiwire.SubscribeLogsRequest, appendVarint(nil, 1, logDebug))
		c.send(buttonCommandRequest, appendFixed32(nil, 1, keys["identify"]))
		if line := string(c.next(apiwire.SubscribeLogsResponse)); !strings.Contains(line, `"Identify" pressed`) {
			t.Errorf("log line %q", line)
		}
		if s, err := p.Entity("identify"); err != nil || s.Presses != 1 {
			t.Errorf("button %+v, %v", s, err)
		}
		c.send(switchCommandRequest, appendFixed32(nil, 1, keys["identify"])) // of another kind: nothing happens
		c.send(buttonCommandRequest, []byte{0x0a, 0xff})                      // damage
		c.send(apiwire.GetTimeRequest, nil)
		if got := parseFields(c.next(apiwire.GetTimeResponse))[1]; got != uint64(time.Now().Unix()) {
			t.Errorf("the device's time is %d", got)
		}
		c.send(apiwire.GetTimeResponse, appendFixed32(nil, 1, 1_700_000_000))
		if err := p.SetEntity("motion", EntityState{On: true}); err != nil {
			t.Error(err)
		}
		if f := state(binarySensorState, "motion"); f[2] != 1 {
			t.Errorf("binary sensor %v", f)
		}
		if told, _ := p.Clock(); told.Unix() != 1_700_000_000 {
			t.Errorf("clock %v", told)
		}
		c.send(buttonCommandRequest, appendFixed32(nil, 1, keys["restart"]))
		c.next(apiwire.SubscribeLogsResponse)
		c.next(apiwire.DisconnectRequest)
		if !c.ended() {
			t.Error("it did not restart")
		}
	})
}

func TestEntitiesAreChecked(t *testing.T) {
	for _, bad := range [][]EntitySpec{
		{{Kind: "toaster", ID: "x"}}, {{Kind: EntityLight}}, {{Kind: EntityLight, ID: "x"}, {Kind: EntitySensor, ID: "x"}},
	} {
		air, err := NewAir(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewProxy(air, ProxyConfig{Name: "k", Entities: bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
