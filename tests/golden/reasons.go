package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// reasonsFile holds every reason that a difference may have, and by which lines of the
// comparison it is known. A line that no rule knows is unexplained, and that is a failure.
//
//go:embed reasons.json
var reasonsFile []byte

// classes are the kinds of reasons, with the words of the document.
var classes = map[string]string{
	"proxy":  "a proxy cannot do it",
	"quirk":  "chosen",
	"driver": "not a difference of the programs: an artefact of the recording or of its driver",
}

// A reason is why a line differs.
type reason struct {
	ID    string `json:"id"`
	Class string `json:"class"`
	Text  string `json:"text"`
	// Quirk is a passage of the document that says more. Only reasons of class driver may lack it.
	Quirk string `json:"quirk"`
	Rules []rule `json:"rules"`
	Moved *struct {
		Mark pattern `json:"mark"` // these facts may be in the step before or after a mark
		Any  pattern `json:"any"`  // these in any step before or after
	} `json:"moved"`
}

// A rule says which lines a reason explains. All conditions have to hold.
type rule struct {
	Scenario pattern `json:"scenario"`
	Step     pattern `json:"step"` // of the step's number and driver's action, or of the matrix case
	Line     pattern `json:"line"`
	// Without explains a missing line and a surplus line of one step that are equal once what it matches is removed.
	Without pattern `json:"without"`
	// UnseenDevice wants that the line is about a device of which the recording says nothing at all.
	UnseenDevice bool `json:"unseen_device"`
}

// A pattern is a regular expression in JSON; absent, it matches everything.
type pattern struct{ re *regexp.Regexp }

func (p *pattern) UnmarshalText(b []byte) (err error) {
	p.re, err = regexp.Compile(string(b))
	return err
}

func (p pattern) matches(s string) bool { return p.re == nil || p.re.MatchString(s) }

// loadReasons reads the reasons and holds them against the document that says more, docs/quirks.md or docs/controller.md.
func loadReasons(file []byte, path string) ([]reason, error) {
	var doc struct{ Reasons []reason }
	if err := json.Unmarshal(file, &doc); err != nil {
		return nil, fmt.Errorf("cannot read the reasons: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for _, r := range doc.Reasons {
		switch {
		case classes[r.Class] == "":
			return nil, fmt.Errorf("reason %s: no class %q", r.ID, r.Class)
		case r.Class != "driver" && r.Quirk == "" || !strings.Contains(string(text), r.Quirk):
			return nil, fmt.Errorf("reason %s: %s says nothing about %q", r.ID, path, r.Quirk)
		}
	}
	return doc.Reasons, nil
}

// A step is what differs between two of the driver's actions, or in one case of the matrix.
type step struct {
	head  string // "3: call {…}", or the case
	lines []line
}

// A line is one fact that only one side has.
type line struct {
	text   string  // "- …": only bluetoothd, "+ …": only we
	reason *reason // nil: unexplained
}

// explain finds the reason of each line. seen says whether the recording mentions a device.
func explain(reasons []reason, scenario string, steps []step, seen func(device string) bool) {
	for i := range reasons {
		r := &reasons[i]
		for _, ru := range r.Rules {
			if !ru.Scenario.matches(scenario) {
				continue
			}
			for s := range steps {
				if ru.Step.matches(steps[s].head) {
					ru.apply(r, steps[s].lines, seen)
				}
			}
		}
		if r.Moved != nil {
			r.explainMoved(steps)
		}
	}
}

func (ru rule) apply(r *reason, lines []line, seen func(string) bool) {
	if ru.Without.re != nil {
		stripped := func(l line) string { return ru.Without.re.ReplaceAllString(l.text[1:], "") }
		for i := range lines {
			for j := range lines {
				if lines[i].text[0] == '-' && lines[j].text[0] == '+' && stripped(lines[i]) == stripped(lines[j]) {
					lines[i].set(r)
					lines[j].set(r)
				}
			}
		}
		return
	}
	for i := range lines {
		if ru.Line.matches(lines[i].text) && (!ru.UnseenDevice || unseen(lines[i].text, seen)) {
			lines[i].set(r)
		}
	}
}

func (l *line) set(r *reason) {
	if l.reason == nil {
		l.reason = r
	}
}

var deviceInPath = regexp.MustCompile(`/dev_(<\w+>|[0-9A-F_]{17})`)

func unseen(text string, seen func(string) bool) bool {
	m := deviceInPath.FindStringSubmatch(text)
	return m != nil && !seen(m[1])
}

// explainMoved explains facts that both sides have, in steps next to each other.
func (r *reason) explainMoved(steps []step) {
	for i := range steps {
		for j := range steps {
			a, okA := number(steps[i].head)
			b, okB := number(steps[j].head)
			if !okA || !okB || b != a+1 {
				continue
			}
			_, action, _ := strings.Cut(steps[j].head, ": ")
			mark := strings.HasPrefix(action, "mark ")
			for x := range steps[i].lines {
				for y := range steps[j].lines {
					p, q := &steps[i].lines[x], &steps[j].lines[y]
					if p.text[0] != q.text[0] && p.text[1:] == q.text[1:] && (mark && r.Moved.Mark.matches(p.text) || r.Moved.Any.matches(p.text)) {
						p.set(r)
						q.set(r)
					}
				}
			}
		}
	}
}

func number(head string) (n int, ok bool) {
	_, err := fmt.Sscanf(head, "%d:", &n)
	return n, err == nil
}
