package inspect

import "bluez-esphome/internal/dbusobj"

// entry, text and number write one entry of a dictionary a{sv}.

func entry(e *dbusobj.Encoder, key, sig string, value func()) {
	e.Entry(func() { e.String(key); e.Variant(sig, value) })
}

func text(e *dbusobj.Encoder, key, value string) { entry(e, key, "s", func() { e.String(value) }) }

func number(e *dbusobj.Encoder, key string, value uint64) {
	entry(e, key, "t", func() { e.Uint64(value) })
}

func signed(e *dbusobj.Encoder, key string, value int8) {
	entry(e, key, "n", func() { e.Int16(int16(value)) })
}

func yes(e *dbusobj.Encoder, key string, value bool) { entry(e, key, "b", func() { e.Bool(value) }) }
