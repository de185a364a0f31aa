package scanner

import "testing"

// A proxy that is held makes no first report; the end of an older hold does not end a newer one.
func TestHold(t *testing.T) {
	a := newAir(t, "A", "B")
	a.SetDiscovery(all)
	old := a.HoldProxy("A")
	newer := a.HoldProxy("A")
	if old == 0 || newer == old || a.Held("A") != newer || a.Held("B") != 0 {
		t.Fatalf("holds %d and %d, held %d", old, newer, a.Held("A"))
	}
	a.ReleaseProxy("A", old)
	a.hear(0, "A", dev, -60, p1)
	expect(t, "held", a.payloads())
	a.ReleaseProxy("A", newer)
	a.hear(1, "A", dev, -60, p2)
	expect(t, "released", a.payloads(), p1, p2)

	if a.HoldProxy("C") != 0 || a.Held("C") != 0 {
		t.Error("a proxy that is not there is held")
	}
	a.HoldProxy("A")
	a.hear(2, "B", dev+1, -60, p3)
	expect(t, "another proxy", a.payloads(), p3)
	a.hear(3, "A", dev, -60, p3)
	expect(t, "known already", a.payloads(), p3)
}
