package fleet

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// a session is that of a node with the proxies that it uses.
type session struct {
	*node
	heard []string // what the device said, while that is not decided on
	asked bool
}

// goesOn has the node ask, or decide on what it was told. Whoever uses it is made to ask again when what it says has changed,
// as by package share.
func (s *session) goesOn(behind *session) {
	switch {
	case s.used:
	case !s.asked:
		s.heard, s.asked = s.uses.shares(), true
	default:
		before := s.told
		s.asked = false
		s.asks(s.heard)
		if s.used {
			s.told = s.others(s.heard)
		}
		if len(s.told) < len(before) || slices.ContainsFunc(s.told, func(v string) bool { return !slices.Contains(before, v) }) {
			behind.ends()
		}
	}
}

func (s *session) ends() { s.used, s.asked = false, false }

// Daemons in a ring that share all their proxies as one begin, lose their sessions and restart in any order. Once that is over,
// one of them refuses, whoever that is, all others use the next one, and no session ends any more.
func TestRingsComeToRest(t *testing.T) {
	for _, size := range []int{2, 3, 4, 5} {
		nodes := ring(t, size, true)
		for seed := range uint64(100) {
			r := rand.New(rand.NewPCG(seed, uint64(size)))
			r.Shuffle(size, func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
			all := make([]*session, size)
			for i, n := range nodes {
				n.uses = nodes[(i+1)%size]
				n.told, n.used, n.list[0].said.Via = nil, false, nil
				all[i] = &session{node: n}
			}
			anyone := func() (s, behind *session) {
				i := r.IntN(size)
				return all[i], all[(i+size-1)%size]
			}
			for range 60 {
				s, behind := anyone()
				switch r.IntN(20) {
				case 0: // it restarts
					s.told, s.list[0].said.Via = nil, nil
					behind.ends()
					s.ends()
				case 1:
					s.ends()
				default:
					s.goesOn(behind)
				}
			}
			use := func() (names []string) {
				for _, s := range all {
					if s.used {
						names = append(names, s.name())
					}
				}
				return names
			}
			for range 100 * size {
				s, behind := anyone()
				s.goesOn(behind)
			}
			rest := use()
			for range 100 * size {
				s, behind := anyone()
				s.goesOn(behind)
			}
			if got := use(); len(got) != size-1 || !slices.Equal(got, rest) {
				t.Errorf("ring %d of %d: %q use the next one, then %q", seed, size, rest, got)
			}
		}
	}
}
