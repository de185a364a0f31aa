package gatt

import (
	"testing"

	"bluez-esphome/internal/ble"
)

// noAir hears nothing.
type noAir struct{}

func (noAir) Paths(ble.Address) []Path { return nil }

// Whoever asks to forget devices that were never known fills no store with them.
func TestNothingIsRemembered(t *testing.T) {
	st := newMemoryStore()
	saved := 0
	m := New(Config{Air: noAir{}, Events: ownerEvents{}, Store: countingStore{st, &saved}})
	for a := range ble.Address(100) {
		if _, err := m.ClearCache(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if saved != 0 || len(st.recs) != 0 {
		t.Errorf("%d records were saved, %d are kept", saved, len(st.recs))
	}
	m.updateRecord(1, func(r *Record) { r.Last = "kitchen" })
	m.updateRecord(1, func(r *Record) { *r = Record{} })
	if saved != 2 || len(st.recs) != 0 {
		t.Errorf("one was remembered and forgotten: %d saved, %d kept", saved, len(st.recs))
	}
	m.Close(t.Context())
}

type countingStore struct {
	*memoryStore
	saved *int
}

func (s countingStore) Save(a ble.Address, r Record) {
	*s.saved++
	s.memoryStore.Save(a, r)
}
