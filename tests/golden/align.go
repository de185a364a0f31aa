package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// recorded is a recording, with its events as they stand in the file.
type recorded struct {
	doc    map[string]any
	events []map[string]any
}

func readRecording(path string) (*recorded, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &recorded{}
	if err := json.Unmarshal(b, &r.doc); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	list, _ := r.doc["events"].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			r.events = append(r.events, m)
		}
	}
	return r, nil
}

// isAction reports whether an event is an action of the driver: actions divide a recording into steps.
func isAction(e map[string]any) bool {
	return e["type"] == "call" || e["type"] == "peripheral" || e["type"] == "mark"
}

func sameAction(a, b map[string]any) bool {
	for _, k := range []string{"type", "path", "interface", "member", "args", "client", "note", "device", "op", "label"} {
		if !reflect.DeepEqual(a[k], b[k]) {
			return false
		}
	}
	return true
}

// align removes whole steps from our recording that the reference does not have, if the rest fits then: the driver may
// be newer than the reference. It gives the actions that it removed.
func align(recording, ours *recorded) (left []string) {
	var want []map[string]any
	for _, e := range recording.events {
		if isAction(e) {
			want = append(want, e)
		}
	}
	var keep []map[string]any
	dropped := map[any]bool{} // ids of calls
	dropping := false
	for _, e := range ours.events {
		if isAction(e) {
			dropping = len(want) == 0 || !sameAction(e, want[0])
			if dropping {
				left = append(left, describe(e))
				dropped[e["id"]] = e["type"] == "call"
			} else {
				want = want[1:]
			}
		}
		if !dropping && !(e["type"] == "reply" && dropped[e["id"]]) {
			keep = append(keep, e)
		}
	}
	if len(want) > 0 || len(left) == 0 {
		return nil // the step is not an additional one but another one, which has to be reported
	}
	ours.events = keep
	return left
}

func describe(e map[string]any) string {
	if e["type"] == "mark" {
		return fmt.Sprintf("mark %v", e["label"])
	}
	what := e["member"]
	if e["type"] == "peripheral" {
		what = e["op"]
	}
	b, _ := json.Marshal(e["args"])
	return fmt.Sprintf("%v %v %s", e["type"], what, b)
}

// strangers removes from our recording what is about devices that do not belong to the scenario: those of the
// background.
func (r *recorded) strangers() {
	own := map[string]bool{}
	devices, _ := r.doc["devices"].(map[string]any)
	for _, a := range devices {
		if s, ok := a.(string); ok {
			own["dev_"+strings.ReplaceAll(strings.ToUpper(s), ":", "_")] = true
		}
	}
	strange := func(path any) bool {
		s, _ := path.(string)
		_, dev, found := strings.Cut(s, "/dev_")
		dev, _, _ = strings.Cut(dev, "/")
		return found && !own["dev_"+dev]
	}
	var keep []map[string]any
	for _, e := range r.events {
		if objects, ok := e["objects"].(map[string]any); ok {
			for path := range objects {
				if strange(path) {
					delete(objects, path)
				}
			}
		}
		args, _ := e["args"].([]any)
		if e["type"] == "signal" && (strange(e["path"]) || len(args) > 0 && strange(args[0])) || e["type"] == "app-call" && len(args) > 0 && strange(args[0]) {
			continue
		}
		keep = append(keep, e)
	}
	r.events = keep
}

// mentions says whether the recording has anything on an object of the device; the device is given by its id in <>, or
// by the address.
func (r *recorded) mentions(device string) bool {
	devices, _ := r.doc["devices"].(map[string]any)
	if a, ok := devices[strings.Trim(device, "<>")].(string); ok {
		device = strings.ReplaceAll(strings.ToUpper(a), ":", "_")
	}
	for _, e := range r.events {
		if e["type"] == "wait-timeout" { // the driver waited for it, and it did not come
			continue
		}
		if b, _ := json.Marshal(e); strings.Contains(string(b), "dev_"+device) {
			return true
		}
	}
	return false
}

func (r *recorded) write(path string) error {
	r.doc["events"] = r.events
	b, err := json.Marshal(r.doc)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
