package main

import (
	"slices"
	"strings"
)

// series is the values of one quantity of one program, one for each round.
type series struct {
	Who    string    `json:"who"`
	What   string    `json:"what"` // with its unit
	Rounds []float64 `json:"rounds"`
}

func (s *series) min() float64 { return slices.Min(s.Rounds) }

func (s *series) median() float64 { return median(s.Rounds) }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// check is a demand on a row.
type check struct {
	Of      string  `json:"of"`   // the quantity
	What    string  `json:"what"` // of which program
	Reached float64 `json:"reached"`
	// Limit is the most that Reached may be or, with AtLeast, the least.
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"at_least,omitempty"`
	Unit    string  `json:"unit,omitempty"`
}

func (c *check) pass() bool {
	if c.AtLeast {
		return c.Reached >= c.Limit
	}
	return c.Reached <= c.Limit
}

// group is one case of a row: its measurements and the demands on them.
type group struct {
	Name   string    `json:"name"`
	Series []*series `json:"series"`
	Checks []check   `json:"checks,omitempty"`
}

// add adds the value of a round.
func (g *group) add(who, what string, v float64) {
	s := g.find(who, what)
	if s == nil {
		s = &series{Who: who, What: what}
		g.Series = append(g.Series, s)
	}
	s.Rounds = append(s.Rounds, v)
}

func (g *group) find(who, what string) *series {
	for _, s := range g.Series {
		if s.Who == who && s.What == what {
			return s
		}
	}
	return nil
}

// ratio demands that a quantity of one program is at most limit times that of the other. It takes the median of the
// rounds' ratios, since the two values of a round were measured right after each other.
func (g *group) ratio(what, one, other string, limit float64) {
	a, b := g.find(one, what), g.find(other, what)
	if a == nil || b == nil {
		return
	}
	g.Checks = append(g.Checks, check{Of: name(what), What: one + " ÷ " + other, Reached: medianRatio(a.Rounds, b.Rounds), Limit: limit})
}

func medianRatio(a, b []float64) float64 {
	var r []float64
	for i := range min(len(a), len(b)) {
		r = append(r, a[i]/b[i])
	}
	return median(r)
}

// atMost demands that the median is at most limit; atLeast demands that it is at least limit.
func (g *group) atMost(who, what, unit string, limit float64) { g.bound(who, what, unit, limit, false) }

func (g *group) atLeast(who, what, unit string, limit float64) {
	g.bound(who, what, unit, limit, true)
}

func (g *group) bound(who, what, unit string, limit float64, atLeast bool) {
	if s := g.find(who, what); s != nil {
		g.Checks = append(g.Checks, check{Of: name(what), What: who, Reached: s.median(), Limit: limit, AtLeast: atLeast, Unit: unit})
	}
}

// result is the measurements of a row.
type result struct {
	Key    string   `json:"row"`
	Title  string   `json:"title"`
	About  string   `json:"about"`
	Groups []*group `json:"groups"`
}

func (r *result) group(name string) *group {
	for _, g := range r.Groups {
		if g.Name == name {
			return g
		}
	}
	g := &group{Name: name}
	r.Groups = append(r.Groups, g)
	return g
}

// name is a quantity without its unit.
func name(what string) string {
	if at := strings.LastIndex(what, ", "); at >= 0 {
		return what[:at]
	}
	return what
}
