package stream

import (
	"encoding/json"
	"strings"
	"time"

	"bluez-esphome/internal/config"
)

// states are the retained messages: what they are to be, and what the broker has of them from the present session.
type states struct {
	m     config.MQTT
	cfg   Config
	since time.Time // when the daemon began
	said  map[string]string
}

// daemonState is the retained message of the daemon.
type daemonState struct {
	State        string `json:"state"` // online or offline
	Site         string `json:"site"`
	Version      string `json:"version,omitempty"`
	Installation string `json:"installation"`
	Since        int64  `json:"since,omitempty"` // milliseconds since 1970
}

// proxyState is that of a proxy.
type proxyState struct {
	Name    string   `json:"name"`
	State   string   `json:"state"`
	Site    string   `json:"site"`
	MAC     string   `json:"mac,omitempty"`
	Version string   `json:"esphome_version,omitempty"`
	Error   string   `json:"error,omitempty"`
	Via     []string `json:"via,omitempty"`
	Slots   int      `json:"slots,omitempty"`
	Free    int      `json:"free_slots"`
}

const online, offline = "online", "offline"

// daemon is topic and payload of the daemon's own state.
func (s *states) daemon(state string) (topic, payload string) {
	if s.m.Format == config.StreamUndecoded {
		return s.m.Topic + "/LWT", state
	}
	d := daemonState{State: state, Site: s.m.Site, Installation: s.cfg.Installation.String()}
	if state == online {
		d.Version, d.Since = s.cfg.Version, s.since.UnixMilli()
	}
	return s.m.Topic + "/status", encodeState(d)
}

// wanted are all retained messages by their topics.
func (s *states) wanted() map[string]string {
	topic, payload := s.daemon(online)
	out := map[string]string{topic: payload}
	if s.m.Format == config.StreamUndecoded {
		return out
	}
	for _, p := range s.cfg.Proxies() {
		out[s.m.Topic+"/proxy/"+level(p.Name)] = encodeState(proxyState{
			Name: p.Name, State: p.State, Site: s.m.Site, MAC: p.MAC, Version: p.Version, Error: p.Error, Via: p.Via,
			Slots: p.Slots, Free: p.FreeSlots,
		})
	}
	return out
}

// changed calls publish for what the broker does not have yet. A proxy that is gone is forgotten by an empty message.
func (s *states) changed(publish func(topic, payload string)) {
	wanted := s.wanted()
	for topic, payload := range wanted {
		if s.said[topic] != payload {
			publish(topic, payload)
		}
	}
	for topic := range s.said {
		if _, still := wanted[topic]; !still {
			publish(topic, "")
		}
	}
	s.said = wanted
}

// level makes a name one level of a topic.
func level(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune("+#/\x7f\ufffd", r) {
			return '_'
		}
		return r
	}, name)
}

func encodeState(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}" // nothing in it can fail
	}
	return string(b)
}
