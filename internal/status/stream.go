package status

import (
	"fmt"
	"io"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Stream is the stream to a broker. Counts are of messages, since the daemon started or a reload changed the stream.
type Stream struct {
	State     string `json:"state"` // connecting, connected or waiting
	Broker    string `json:"broker"`
	Topic     string `json:"topic"`
	Format    string `json:"format"`
	Since     Moment `json:"since"`      // of State
	LastError string `json:"last_error"` // empty: nothing went wrong
	Sessions  uint64 `json:"sessions"`
	// Offered is Published, Dropped, Refused, Queued and Unacked together, but for what is being written.
	Offered   uint64 `json:"offered"`
	Published uint64 `json:"published"`
	Dropped   uint64 `json:"dropped"` // had to make room, or were lost with a session
	Refused   uint64 `json:"refused"` // the broker did not take them
	Queued    uint64 `json:"queued"`
	Unacked   uint64 `json:"unacked"`
	Limit     uint64 `json:"limit"` // of Queued
	Bytes     uint64 `json:"bytes"` // of payloads
}

// streamOf reads org.bluez_esphome.Stream1, nil if nothing is streamed.
func streamOf(p map[string]dbus.Variant) *Stream {
	if len(p) == 0 {
		return nil
	}
	return &Stream{
		State: get[string](p, "State"), Broker: get[string](p, "Broker"), Topic: get[string](p, "Topic"), Format: get[string](p, "Format"),
		Since: Moment(get[uint64](p, "Since")), LastError: get[string](p, "LastError"), Sessions: get[uint64](p, "Sessions"),
		Offered: get[uint64](p, "Offered"), Published: get[uint64](p, "Published"), Dropped: get[uint64](p, "Dropped"),
		Refused: get[uint64](p, "Refused"), Queued: get[uint64](p, "Queued"), Unacked: get[uint64](p, "Unacked"),
		Limit: get[uint64](p, "Limit"), Bytes: get[uint64](p, "Bytes"),
	}
}

// print writes where the stream goes and how it stands with the broker.
func (s *Stream) print(w io.Writer, now time.Time) {
	t := table(w, "STREAM TO\tTOPIC\tSTATE\tSINCE\tPUBLISHED\tLOST\tREFUSED\tWAITING")
	row(t, clip(s.Broker, 40), clip(s.Topic, 30), s.State, ago(s.Since, now), fmt.Sprint(s.Published), fmt.Sprint(s.Dropped), fmt.Sprint(s.Refused), fmt.Sprint(s.Queued+s.Unacked))
	t.Flush()
	if s.LastError != "" && s.State != "connected" {
		wrap(w, "", "  ", "the broker: "+s.LastError)
	}
	fmt.Fprintln(w)
}
