package gatt

// Who has not paired is refused what needs pairing, though another party's pairing encrypted the link that both use: a
// link of its own would not be encrypted either. The peripheral no longer says what is so guarded once the link is
// encrypted; what it said before is remembered.

// guardLocked notes that an attribute needs an encrypted link.
func (l *link) guardLocked(o *op, err error) {
	if l.guarded == nil {
		l.guarded = make(map[uint32]error)
	}
	l.guarded[o.guardKey()] = err
}

// guardsLocked reports whether an operation may have to be refused.
func (l *link) guardsLocked(o *op) bool {
	return o.party != nil && o.party.cfg.Guest && l.secured && l.guarded[o.guardKey()] != nil && !l.paired[o.party]
}

// refusal is the peripheral's answer to what a guest has not paired for, or nil.
func (s *session) refusal(l *link, o *op) error {
	s.m.mu.Lock()
	refuse, answer := l.guardsLocked(o), l.guarded[o.guardKey()]
	s.m.mu.Unlock()
	if refuse && !s.bondOf(o.party) {
		return answer
	}
	return nil
}

// bondOf reports whether a party made the bond.
func (s *session) bondOf(party *Owner) bool {
	r := s.m.record(s.addr)
	return r.Bonded != "" && party.cfg.Party != "" && r.BondedBy == party.cfg.Party
}

// mayRaise reports whether the link may be encrypted for an operation without anybody having asked: not for a guest,
// whose client pairs itself, unless it has the bond.
func (s *session) mayRaise(o *op) bool {
	return o.party == nil || !o.party.cfg.Guest || s.bondOf(o.party)
}

// guardKey tells values and their configurations apart, which may be guarded each by itself.
func (o *op) guardKey() uint32 {
	if o.configures {
		return 1<<16 | uint32(o.handle)
	}
	return uint32(o.handle)
}

func addOwner(owners map[*Owner]bool, o *Owner) map[*Owner]bool {
	if owners == nil {
		owners = make(map[*Owner]bool)
	}
	owners[o] = true
	return owners
}
