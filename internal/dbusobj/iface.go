package dbusobj

// Interface describes a D-Bus interface; objects share it. It must not change after it
// was first given to [Conn.Add] or [Object.AddInterface].
type Interface struct {
	Name       string
	Methods    []Method
	Signals    []Signal
	Properties []Property
	// Hidden leaves the interface out of introspection; in everything else it is there.
	Hidden bool
}

// Arg is an argument of a method or signal.
type Arg struct {
	Name string
	Type string // one complete type
}

// Method describes a method. Several methods of one interface may have the same name
// and different arguments.
type Method struct {
	Name       string
	In, Out    []Arg
	Deprecated bool // annotated in introspection
	NoReply    bool // annotated in introspection
	// Call handles a call in the loop. It answers with [Call.Reply] or [Call.Error], at
	// once or later. If it panics, the caller gets org.freedesktop.DBus.Error.Failed.
	Call func(*Call)
}

// Signal describes a signal.
type Signal struct {
	Name string
	Args []Arg
}

// Property describes a property.
type Property struct {
	Name string
	Type string // one complete type
	// Get appends the bare value, of Type, to e; it must not be nil. It is called in the
	// loop whenever the value is needed, also on behalf of a signal.
	Get func(o *Object, e *Encoder)
	// Exists tells whether the property is there now; nil means always.
	Exists func(o *Object) bool
	// Set is asked to change the value and answers through c, at once or later; nil means
	// read-only. v is of exactly Type, as godbus decodes it. A successful change is
	// announced by [Object.Changed], not by the answer.
	Set func(o *Object, v any, c *Call)
}
