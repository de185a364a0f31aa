package apiwire

import (
	"slices"
	"strings"
	"testing"

	"bluez-esphome/internal/apiwire/apipb"

	"google.golang.org/protobuf/proto"
)

// What daemons add to message 10 is read again, is skipped by who does not know it, and is bounded.
func TestVia(t *testing.T) {
	t.Parallel()
	plain, err := proto.Marshal(&apipb.DeviceInfoResponse{Name: "kitchen", EsphomeVersion: "2026.10.0"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2A:00:00:00:00:01 attic", "2A:00:00:00:00:02 barn"}
	marked := AppendVia(slices.Clone(plain), want)
	if got := Via(marked); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	var m apipb.DeviceInfoResponse
	if err := proto.Unmarshal(marked, &m); err != nil || m.GetName() != "kitchen" || m.GetEsphomeVersion() != "2026.10.0" {
		t.Errorf("%v, %v", &m, err)
	}
	if got := Via(plain); got != nil {
		t.Errorf("%q", got)
	}
	crowd := AppendVia(nil, slices.Repeat([]string{strings.Repeat("x", 1000)}, 100))
	crowd = append(crowd, crowd...)
	if got := Via(crowd); len(got) != maxVia || len(got[0]) > maxViaText+len("…") {
		t.Errorf("%d of %d bytes", len(got), len(got[0]))
	}
	for i := range marked {
		Via(marked[:i])
	}
}
