package bluezshim_test

import (
	"testing"
)

// TestDrain: what a client wrote to its descriptor before the link is let go is handed over before that, whoever lets
// go.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(h *harness, c *client)
	}{
		{"Disconnect", func(_ *harness, c *client) { c.send("hci0/dev1", "org.bluez.Device1.Disconnect") }},
		{"RemoveDevice", func(_ *harness, c *client) { c.send("hci0", "org.bluez.Adapter1.RemoveDevice", fullPath("hci0/dev1")) }},
		{"the adapter is powered off", func(h *harness, c *client) {
			h.do(func() {})
			c.set("hci0", "Adapter1", "Powered", false)
		}},
		{"the daemon ends", func(h *harness, _ *client) { h.do(h.shim.Drain) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			c := h.client()
			h.connected(c, database(customService()))
			f, _ := c.acquire(charCmd, "AcquireWrite", func() {})
			for _, v := range []byte{1, 2, 3, 4} {
				if _, err := f.Write([]byte{v}); err != nil {
					t.Fatal(err)
				}
			}
			first := h.links.Next(t, "WriteCommand 0014 [1]") // which is not answered yet
			tc.end(h, c)
			for _, want := range []string{"WriteCommand 0014 [2]", "WriteCommand 0014 [3]", "WriteCommand 0014 [4]"} {
				h.links.Next(t, want).End(nil)
			}
			first.End(nil)
		})
	}
}
