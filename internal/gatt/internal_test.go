package gatt

import (
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
)

// Path scores as habluetooth 7.1.2 computes them.
func TestScoreVectors(t *testing.T) {
	b, err := os.ReadFile("../testdata/esphome-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Scores []struct {
			RSSI     int     `json:"rssi"`
			Diff     int     `json:"rssi_diff_best_two"`
			Dialling int     `json:"connects_in_progress"`
			Failures float64 `json:"failures_for_address"`
			Slots    []int   `json:"slots"`
			Score    float64 `json:"score"`
		} `json:"habluetooth_connection_scores"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for i, v := range file.Scores {
		free := -1 // unknown; a limit of 0 means that as well
		if len(v.Slots) == 2 && v.Slots[0] > 0 {
			free = v.Slots[1]
		}
		if got := score(v.RSSI, v.Diff, v.Dialling, v.Failures, free); math.Abs(got-v.Score) > 1e-6 {
			t.Errorf("vector %d: score %v, want %v", i, got, v.Score)
		}
	}
	if len(file.Scores) == 0 {
		t.Error("no vectors")
	}
	t.Logf("%d vectors covered", len(file.Scores))
}

func TestFailuresDecay(t *testing.T) {
	ps := &proxyState{failures: make(map[ble.Address]failure)}
	now := time.Now()
	ps.failedLocked(1, now)
	ps.failedLocked(1, now)
	if got := ps.failures[1].now(now.Add(failureHalfLife)); math.Abs(got-1) > 1e-9 {
		t.Errorf("after a half-life: %v", got)
	}
	for a := range ble.Address(5000) {
		ps.failedLocked(a, now)
	}
	if len(ps.failures) > maxFailures {
		t.Errorf("%d failures kept", len(ps.failures))
	}
	ps.failedLocked(9999, now.Add(time.Hour))
	if _, ok := ps.failures[9999]; !ok || len(ps.failures) != 1 {
		t.Errorf("%d failures left", len(ps.failures))
	}
}

func TestTruncates(t *testing.T) {
	for v, want := range map[string]bool{"2025.7.9": false, "2025.8.0": true, "2025.12.1-dev": true, "2026.7.3": true, "2026.8.0": false,
		"": false, "x": false, "2026": false, "2026.99.0": false, "9999999999999999999999.1": false} {
		if got := truncates(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func TestBuildDatabase(t *testing.T) {
	u := ble.UUID16
	tests := []struct {
		name    string
		in      []ble.Service
		want    []ble.Service
		dropped int
	}{
		{name: "empty", want: []ble.Service{}},
		{name: "sorted and derived",
			in: []ble.Service{
				{Handle: 10, UUID: u(2), Characteristics: []ble.Characteristic{
					{ValueHandle: 15, UUID: u(4)}, {ValueHandle: 12, UUID: u(3), Descriptors: []ble.Descriptor{{Handle: 13, UUID: u(5)}}}}},
				{Handle: 1, UUID: u(1)}},
			want: []ble.Service{{Handle: 1, EndHandle: 9, UUID: u(1)},
				{Handle: 10, EndHandle: 0xffff, UUID: u(2), Characteristics: []ble.Characteristic{
					{Handle: 11, ValueHandle: 12, UUID: u(3), Descriptors: []ble.Descriptor{{Handle: 13, UUID: u(5)}}},
					{Handle: 14, ValueHandle: 15, UUID: u(4)}}}}},
		{name: "duplicates",
			in: []ble.Service{{Handle: 1, UUID: u(1)}, {Handle: 1, UUID: u(1)}, {Handle: 1, UUID: u(2)}, {Handle: 5, UUID: u(1),
				Characteristics: []ble.Characteristic{{ValueHandle: 7, UUID: u(3), Descriptors: []ble.Descriptor{{Handle: 8, UUID: u(5)}, {Handle: 8, UUID: u(5)}}}, {ValueHandle: 7, UUID: u(3)}}}},
			want: []ble.Service{{Handle: 1, EndHandle: 4, UUID: u(1)}, {Handle: 5, EndHandle: 0xffff, UUID: u(1),
				Characteristics: []ble.Characteristic{{Handle: 6, ValueHandle: 7, UUID: u(3), Descriptors: []ble.Descriptor{{Handle: 8, UUID: u(5)}}}}}},
			dropped: 3},
		{name: "out of range",
			in: []ble.Service{{Handle: 0, UUID: u(1)}, {Handle: 5, UUID: u(1), Characteristics: []ble.Characteristic{
				{ValueHandle: 0, UUID: u(2)}, {ValueHandle: 0, UUID: u(2)}, {ValueHandle: 3, UUID: u(2)}, {ValueHandle: 6, UUID: u(2)}, {ValueHandle: 0xffff, UUID: u(2)},
				{ValueHandle: 7, UUID: u(2), Descriptors: []ble.Descriptor{{Handle: 0, UUID: u(3)}, {Handle: 2, UUID: u(3)}, {Handle: 99, UUID: u(3)}}}}},
				{Handle: 20, UUID: u(1)}, {Handle: 0xffff, UUID: u(1), Characteristics: []ble.Characteristic{{ValueHandle: 0xffff, UUID: u(2)}, {ValueHandle: 1, UUID: u(2)}}}},
			want: []ble.Service{{Handle: 5, EndHandle: 19, UUID: u(1), Characteristics: []ble.Characteristic{{Handle: 6, ValueHandle: 7, UUID: u(2)}}},
				{Handle: 20, EndHandle: 0xfffe, UUID: u(1)}, {Handle: 0xffff, EndHandle: 0xffff, UUID: u(1)}},
			dropped: 11},
		{name: "no room for a declaration",
			in: []ble.Service{{Handle: 1, UUID: u(1), Characteristics: []ble.Characteristic{{ValueHandle: 3, UUID: u(2)}, {ValueHandle: 4, UUID: u(2)}, {ValueHandle: 6, UUID: u(2),
				Descriptors: []ble.Descriptor{{Handle: 7, UUID: u(3)}, {Handle: 8, UUID: u(3)}}}, {ValueHandle: 9, UUID: u(2)}}}},
			want: []ble.Service{{Handle: 1, EndHandle: 0xffff, UUID: u(1), Characteristics: []ble.Characteristic{{Handle: 2, ValueHandle: 3, UUID: u(2)},
				{Handle: 5, ValueHandle: 6, UUID: u(2), Descriptors: []ble.Descriptor{{Handle: 7, UUID: u(3)}}}, {Handle: 8, ValueHandle: 9, UUID: u(2)}}}},
			dropped: 2},
		{name: "without a UUID: the entry goes, and its place stays nobody's",
			in: []ble.Service{{Handle: 1, UUID: u(1), Characteristics: []ble.Characteristic{
				{ValueHandle: 3, UUID: u(2), Descriptors: []ble.Descriptor{{Handle: 4}, {Handle: 5, UUID: u(3)}, {Handle: 7, UUID: u(3)}}}, {ValueHandle: 7}, {ValueHandle: 9, UUID: u(2)}}},
				{Handle: 20, Characteristics: []ble.Characteristic{{ValueHandle: 22, UUID: u(2)}}}, {Handle: 30, UUID: u(1)}},
			want: []ble.Service{{Handle: 1, EndHandle: 19, UUID: u(1), Characteristics: []ble.Characteristic{
				{Handle: 2, ValueHandle: 3, UUID: u(2), Descriptors: []ble.Descriptor{{Handle: 5, UUID: u(3)}}}, {Handle: 8, ValueHandle: 9, UUID: u(2)}}},
				{Handle: 30, EndHandle: 0xffff, UUID: u(1)}},
			dropped: 4},
		{name: "two UUIDs at one handle: none of them",
			in: []ble.Service{{Handle: 1, UUID: u(1), Characteristics: []ble.Characteristic{
				{ValueHandle: 3, UUID: u(2)}, {ValueHandle: 3, UUID: u(4)}, {ValueHandle: 6, UUID: u(2), Descriptors: []ble.Descriptor{
					{Handle: 7, UUID: u(3)}, {Handle: 7, UUID: u(5)}, {Handle: 8, UUID: u(3)}, {Handle: 8, UUID: u(3)}}}}}},
			want: []ble.Service{{Handle: 1, EndHandle: 0xffff, UUID: u(1), Characteristics: []ble.Characteristic{
				{Handle: 5, ValueHandle: 6, UUID: u(2), Descriptors: []ble.Descriptor{{Handle: 8, UUID: u(3)}}}}}},
			dropped: 5},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			db, dropped := buildDatabase(tc.in)
			if d := cmp.Diff(tc.want, db.Services); d != "" {
				t.Error(d)
			}
			if len(dropped) != tc.dropped {
				t.Errorf("dropped %q, want %d", dropped, tc.dropped)
			}
			checkDatabase(t, db)
		})
	}
}

// checkDatabase: every handle once, ascending, nested, bounded.
func checkDatabase(t *testing.T, db *ble.Database) {
	t.Helper()
	last, n := 0, 0
	next := func(h uint16, end uint16) {
		n++
		if int(h) <= last || h > end {
			t.Fatalf("handle 0x%04x after 0x%04x, end 0x%04x: %+v", h, last, end, db)
		}
		last = int(h)
	}
	for _, s := range db.Services {
		next(s.Handle, s.EndHandle)
		for _, c := range s.Characteristics {
			if c.Handle != c.ValueHandle-1 {
				t.Fatalf("declaration 0x%04x of value 0x%04x", c.Handle, c.ValueHandle)
			}
			next(c.Handle, s.EndHandle)
			next(c.ValueHandle, s.EndHandle)
			for _, d := range c.Descriptors {
				next(d.Handle, s.EndHandle)
			}
		}
		last = int(s.EndHandle)
	}
	if n > ble.MaxServices+ble.MaxAttributes {
		t.Fatalf("%d attributes", n)
	}
}

func FuzzBuildDatabase(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 3, 2, 0, 4, 0, 0, 9, 1, 0xff, 0xff})
	f.Add([]byte{0, 0xff, 0xff, 1, 0xff, 0xff, 0, 0xff, 0xfe, 1, 0, 0, 2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var in []ble.Service
		for ; len(b) >= 3; b = b[3:] {
			h := uint16(b[1])<<8 | uint16(b[2])
			kind := b[0] % 3
			switch {
			case kind == 0 || len(in) == 0:
				in = append(in, ble.Service{Handle: h})
			case kind == 1 || len(in[len(in)-1].Characteristics) == 0:
				s := &in[len(in)-1]
				s.Characteristics = append(s.Characteristics, ble.Characteristic{ValueHandle: h})
			default:
				s := &in[len(in)-1]
				c := &s.Characteristics[len(s.Characteristics)-1]
				c.Descriptors = append(c.Descriptors, ble.Descriptor{Handle: h})
			}
		}
		db, _ := buildDatabase(in)
		checkDatabase(t, db)
		_ = suspicion(db, db, []ble.UUID{uuidGAP}, "2025.9.0")
	})
}

// TestAdvertisedButNotThere: many devices advertise UUIDs that are no services of theirs. Where lists are complete,
// that is no reason to connect once more.
func TestAdvertisedButNotThere(t *testing.T) {
	db := &ble.Database{Services: []ble.Service{{Handle: 1, EndHandle: 9, UUID: uuidGAP}}}
	for version, want := range map[string]bool{"2025.7.5": false, "2025.8.0": true, "2026.7.3": true, "2026.8.0": false, "": false} {
		if why := suspicion(db, nil, []ble.UUID{ble.UUID16(0xfcd2)}, version); (why != "") != want {
			t.Errorf("ESPHome %q: %q, want suspicion: %v", version, why, want)
		}
	}
}

// Parties are served in turns: whoever has one operation waits for one of each other party, however many those have.
func TestLanes(t *testing.T) {
	t.Parallel()
	a, b, c := new(Owner), new(Owner), new(Owner)
	names := map[*Owner]string{a: "a", b: "b", c: "c", nil: "m"}
	var q lanes
	push := func(party *Owner, n int) {
		for range n {
			if !q.push(&op{party: party, size: 1}) {
				t.Fatal("refused")
			}
		}
	}
	serve := func(n int) string {
		out := ""
		for range n {
			out += names[q.pop().party]
		}
		return out
	}
	push(a, 5)
	got := serve(1)
	push(b, 2)
	push(nil, 1)
	got += serve(4)
	push(c, 1)
	push(b, 1) // it was served later than c, which never was
	got += serve(5)
	if want := "abmab" + "cab" + "aa"; got != want {
		t.Errorf("served %s, want %s", got, want)
	}
	if o := q.pop(); o != nil || !q.empty() {
		t.Error("not empty")
	}
	push(a, maxQueued)
	if q.push(&op{party: a}) || !q.push(&op{party: b}) {
		t.Error("one party's bound is not its own")
	}
	if q.push(&op{party: c, size: maxQueuedBytes + 1}) {
		t.Error("too long, and let in")
	}
	if n := len(q.take(func(o *op) bool { return o.party == a })); n != maxQueued || q.pop().party != b || !q.empty() {
		t.Errorf("%d taken out", n)
	}
}
