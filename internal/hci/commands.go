package hci

// command is one HCI command that the controller knows. octet and bit are its place in Supported Commands (Bluetooth
// Core, Vol 4 Part E, 6.27), octet -1 if it is not claimed; length is that of its parameters.
type command struct {
	name       string
	octet, bit int
	length     int
	run        func(c *Controller, op uint16, p []byte)
}

// commands has them all by opcode. One that is not here is answered with Command Status, Unknown Command, which harms
// no host.
var commands = join(informationCommands, scanCommands, connectCommands, linkCommands, securityCommands)

func join(families ...map[uint16]command) map[uint16]command {
	all := map[uint16]command{}
	for _, f := range families {
		for op, c := range f {
			all[op] = c
		}
	}
	return all
}

// command takes one command packet without its type. c.mu is held.
func (c *Controller) command(p []byte) {
	op := uint16(p[0]) | uint16(p[1])<<8
	cmd, known := commands[op]
	switch {
	case !known:
		c.commandStatus(op, unknownCommand)
	case len(p)-3 != cmd.length:
		// The commands whose answer is Command Complete take a Command Status with an error as well.
		c.commandStatus(op, invalidParameters)
	default:
		cmd.run(c, op, p[3:])
	}
}

// answers makes the run of a command that always gives the same parameters.
func answers(give func(c *Controller) []byte) func(*Controller, uint16, []byte) {
	return func(c *Controller, op uint16, _ []byte) { c.commandComplete(op, success, give(c)...) }
}

func u16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }
