package apiserver

import (
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// OtherBackend is a Backend with more features than a Bluetooth proxy: the sensors, lights and buttons of the device,
// its log, its clock. Without it a client is told that there are no entities.
type OtherBackend interface {
	Backend
	// Other takes a message of another feature, in order with the rest: entities, states, commands, logs, the time and
	// whatever this program does not know. The payload is valid during the call. It is called once the client is
	// authenticated only.
	Other(s *Session, id apiwire.ID, payload []byte)
}

// Send sends a message of another feature as it is. It must not be lost: if there is no room, the session ends.
func (s *Session) Send(id apiwire.ID, payload []byte) {
	s.enqueue(message{id: id, payload: payload})
}

// otherFeature reports whether a message is not the proxy's, and deals with it then.
func (s *Session) otherFeature(id apiwire.ID, payload []byte) bool {
	switch id {
	case apiwire.ListEntitiesRequest, apiwire.SubscribeLogsRequest, apiwire.GetTimeRequest, apiwire.GetTimeResponse:
	default:
		if apiwire.Known(id) {
			return false
		}
	}
	switch {
	case s.other != nil:
		s.other.Other(s, id, payload)
	case id == apiwire.ListEntitiesRequest: // clients such as Home Assistant wait for the end of the list
		s.sendEmpty(apiwire.ListEntitiesDoneResponse)
	}
	return true
}

// LogLevel is how serious a line of a device's log is (ESPHome native API).
type LogLevel uint8

// LogError is the most serious level; who asked for a log at all has it.
const LogError LogLevel = 1

// LogLine sends message 29, a line of the device's log.
func (s *Session) LogLine(level LogLevel, text string) {
	s.send(&apipb.SubscribeLogsResponse{Level: apipb.LogLevel(level), Message: []byte(text)})
}
