package beacon

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const ruuviID = 0x0499

// readings gathers values of a payload, in words.
type readings []string

// add adds a value in its unit with at most so many decimals.
func (r *readings) add(name string, v float64, decimals int, unit string) {
	*r = append(*r, strings.TrimSpace(name+" "+decimal(v, decimals)+" "+unit))
}

// of puts the readings behind what they are of.
func (r readings) of(kind string) string { return strings.Join(append([]string{kind}, r...), ", ") }

// decimal writes a number with at most so many decimals.
func decimal(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		s = "0"
	}
	return s
}

// ruuvi decodes the data formats 3 (RAWv1), 5 (RAWv2) and 6 of Ruuvi's documentation.
func ruuvi(data []byte) string {
	var r readings
	switch {
	case len(data) >= 14 && data[0] == 3:
		r.add("humidity", float64(data[1])/2, 1, "%")
		t := float64(data[2]&0x7f) + float64(data[3])/100
		if data[2]&0x80 != 0 {
			t = -t
		}
		r.add("temperature", t, 2, "°C")
		r.add("pressure", (float64(binary.BigEndian.Uint16(data[4:]))+50000)/100, 2, "hPa")
		r.acceleration(data[6:])
		r.add("battery", float64(binary.BigEndian.Uint16(data[12:]))/1000, 3, "V")
		return r.of("RuuviTag")
	case len(data) >= 24 && data[0] == 5:
		r.climate(data[1:])
		r.acceleration(data[7:])
		power := binary.BigEndian.Uint16(data[13:])
		if mv := power >> 5; mv != 0x7ff {
			r.add("battery", float64(mv+1600)/1000, 3, "V")
		}
		if tx := power & 0x1f; tx != 0x1f {
			r.add("TX power", float64(tx)*2-40, 0, "dBm")
		}
		if data[15] != 0xff {
			r.add("movements", float64(data[15]), 0, "")
		}
		if n := binary.BigEndian.Uint16(data[16:]); n != 0xffff {
			r.add("measurement", float64(n), 0, "")
		}
		return r.of("RuuviTag")
	case len(data) >= 20 && data[0] == 6:
		r.climate(data[1:])
		if v := binary.BigEndian.Uint16(data[7:]); v != 0xffff {
			r.add("PM2.5", float64(v)/10, 1, "µg/m³")
		}
		if v := binary.BigEndian.Uint16(data[9:]); v != 0xffff {
			r.add("CO₂", float64(v), 0, "ppm")
		}
		if v := int(data[11])<<1 | int(data[16]>>6&1); v != 0x1ff {
			r.add("VOC index", float64(v), 0, "")
		}
		if v := int(data[12])<<1 | int(data[16]>>7&1); v != 0x1ff {
			r.add("NOx index", float64(v), 0, "")
		}
		if v := data[13]; v != 0xff {
			r.add("light", math.Exp(float64(v)*math.Log(65536)/254)-1, 2, "lx")
		}
		r.add("measurement", float64(data[15]), 0, "")
		return r.of("Ruuvi Air")
	}
	return undecoded("", data)
}

// climate reads temperature, humidity and pressure, six bytes.
func (r *readings) climate(data []byte) {
	if t := int16(binary.BigEndian.Uint16(data)); t != -0x8000 {
		r.add("temperature", float64(t)*.005, 3, "°C")
	}
	if h := binary.BigEndian.Uint16(data[2:]); h != 0xffff {
		r.add("humidity", float64(h)*.0025, 4, "%")
	}
	if p := binary.BigEndian.Uint16(data[4:]); p != 0xffff {
		r.add("pressure", (float64(p)+50000)/100, 2, "hPa")
	}
}

// acceleration reads three axes in mg, six bytes.
func (r *readings) acceleration(data []byte) {
	var v [3]int16
	for i := range v {
		v[i] = int16(binary.BigEndian.Uint16(data[2*i:]))
		if v[i] == -0x8000 {
			return
		}
	}
	*r = append(*r, fmt.Sprintf("acceleration %d/%d/%d mg", v[0], v[1], v[2]))
}
