package web

import (
	"bytes"
	"slices"
	"strconv"
	"time"
)

// An event of the stream is one line of JSON between these.
const (
	eventBegin = "data: "
	eventEnd   = "\n\n"
)

// event makes the event of an update: an object with these members, each of which may be missing.
//
//   - set: the members of the snapshot that changed
//   - p: for each proxy, its rate, the number of devices that it owns, and the milliseconds since it was heard
//   - new: the devices that are new or whose texts changed
//   - d: for each device whose signals moved, its number, and for each of these signals the number of the proxy, dBm,
//     the age in milliseconds, and 1 if the proxy is the owner; dBm 0 and age -1 mean that the proxy no longer hears it
//   - gone: the numbers of the devices that are no longer shown
func (st *sentState) event(s *snapshot) []byte {
	out := append(make([]byte, 0, 512+len(st.moved)), eventBegin+"{"...)
	begin := len(out)
	member := func(name string) {
		if len(out) > begin {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), name...), `":`...)
	}
	sections := s.sections()
	set := 0
	for i := range sections {
		key, b := sections[i].key, st.encode(sections[i].value)
		if bytes.Equal(b, st.set[key]) {
			continue
		}
		st.set[key] = append(st.set[key][:0], b...)
		if set++; set == 1 {
			member("set")
			out = append(out, '{')
		} else {
			out = append(out, ',')
		}
		out = append(append(append(append(out, '"'), key...), `":`...), b...)
	}
	if set > 0 {
		out = append(out, '}')
	}
	if numbers := s.numbers(); !slices.Equal(numbers, st.numbers) {
		st.numbers = numbers
		member("p")
		out = append(out, st.encode(numbers)...)
	}
	if len(st.fresh) > 0 {
		member("new")
		out = append(out, st.encode(st.fresh)...)
	}
	if len(st.moved) > 0 {
		member("d")
		out = append(append(append(out, '['), st.moved...), ']')
	}
	if len(st.gone) > 0 {
		member("gone")
		out = append(out, st.encode(st.gone)...)
	}
	return append(out, "}"+eventEnd...)
}

// encode writes a value as JSON, which is valid until the next call.
func (st *sentState) encode(v any) []byte {
	st.scratch.Reset()
	if st.json.Encode(v) != nil {
		return []byte("null") // there is nothing in it that cannot be encoded
	}
	return bytes.TrimSuffix(st.scratch.Bytes(), []byte("\n"))
}

// section is a member of the snapshot that is compared and sent as a whole.
type section struct {
	key   string
	value any
}

func (s *snapshot) sections() [11]section {
	proxies := slices.Clone(s.Proxies)
	for i := range proxies {
		p := &proxies[i]
		p.Rate, p.Owned, p.Heard, p.Adverts = 0, 0, 0, 0
	}
	return [...]section{
		{"version", s.Version}, {"devices", s.Devices}, {"switches", s.Switches}, {"rate", s.Rate}, {"notReady", s.Ready}, {"remarks", s.Remarks},
		{"log", s.Log}, {"advice", s.Advice}, {"proxies", proxies}, {"controllers", s.Controllers}, {"stream", s.Stream},
	}
}

// numbers gives for each proxy its rate, the number of devices that it owns, and the milliseconds since it was heard, 0
// within the first age class.
func (s *snapshot) numbers() [][3]float64 {
	out := make([][3]float64, len(s.Proxies))
	for i := range s.Proxies {
		p := &s.Proxies[i]
		heard := p.Heard
		if heard >= 0 && ageClass(time.Duration(heard)*time.Millisecond) == 0 {
			heard = 0
		}
		out[i] = [3]float64{p.Rate, float64(p.Owned), float64(heard)}
	}
	return out
}

// move adds a signal to st.moved, where the part of its device starts at begin.
func (st *sentState) move(begin int, k *sentDevice, proxy int, src *sentSignal, ago int64) {
	b := st.moved
	if len(b) == begin {
		if begin > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, '['), k.number, 10)
	}
	b = strconv.AppendInt(append(b, ','), int64(proxy), 10)
	b = strconv.AppendInt(append(b, ','), int64(src.dBm), 10)
	b = strconv.AppendInt(append(b, ','), ago, 10)
	st.moved = strconv.AppendInt(append(b, ','), int64(one(src.owner)), 10)
}
