package hci

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

// vectors is testdata/vectors.json, recorded between real hosts and a prototype.
type vectors struct {
	Claims struct {
		SupportedCommands string `json:"supported_commands"`
	} `json:"claims"`
	Commands []struct {
		Name, H4, Note string
		Answers        []string
	} `json:"commands"`
	Scenarios []struct {
		Name, Host, Note string
		Steps            [][3]any
	} `json:"scenarios"`
}

func loadVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCommandVectors: each command of the contract gets the answer of the contract.
func TestCommandVectors(t *testing.T) {
	v := loadVectors(t)
	if len(v.Commands) < 30 {
		t.Fatalf("%d commands", len(v.Commands))
	}
	for _, cmd := range v.Commands {
		t.Run(cmd.Name, func(t *testing.T) {
			run(t, func(r *rig) {
				linked := strings.HasPrefix(cmd.H4[8:], "4000") && !strings.Contains(cmd.Name, "no such") || cmd.Note == "state: linked"
				switch {
				case cmd.Name == "LE Connection Update":
					r.c.next = 0x47
					fallthrough
				case linked:
					r.connect()
					r.heard()
				case cmd.Note == "state: pending":
					r.ask(createConnection, connectionStatus)
				}
				if strings.Contains(cmd.Name, "key missing") {
					r.smps[0].status = 6
				}
				if cmd.Name == "Read RSSI" {
					r.air.last[device] = heardAt{ble.RawAdvert{RSSI: -60}, time.Now()}
				}
				if cmd.Name == "LE Create Connection" {
					r.advertise(device, "020106")
				}
				if cmd.Name == "LE Connection Update" {
					r.links.Auto("SetConnectionParams", func(o *linkOp) { o.End(nil) })
				}
				r.say(cmd.H4)
				want := cmd.Answers
				if cmd.Name == "LE Create Connection" {
					r.want(connectionStatus)
					op := r.links.Next(t, "Connect")
					r.events.LinkUp(device, 247)
					op.End(nil)
					// The prototype said parameters of its own; the contract's text, 3.2, has the host's.
					want = []string{connected}
				}
				r.want(want...)
			})
		})
	}
}

// TestClaims: the bitmap, which is made of the table, is that with which everything was run.
func TestClaims(t *testing.T) {
	bits := supportedCommands()
	if got, want := hexOf(bits[:]), loadVectors(t).Claims.SupportedCommands; got != want {
		t.Errorf("supported commands\n%s, want\n%s", got, want)
	}
}
