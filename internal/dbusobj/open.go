package dbusobj

// How many calls may wait for their answers: a client's own are bounded far above what a program needs (the system bus lets one
// have 128), all clients' by the memory that they take.
const (
	maxOpenCalls    = 4096
	maxAllOpenCalls = 32768
	fewOpenCalls    = 16 // of a client that is served even when all together have too many
)

const tooManyCalls = "Too many calls are waiting for an answer"

// openCalls counts the calls that are not answered yet. It belongs to the loop.
type openCalls struct {
	of  map[string]int
	all int
}

// begin counts a call, which [openCalls.end] has to be called for in any case; it reports false if it is one too many.
func (o *openCalls) begin(sender string) bool {
	if o.of == nil {
		o.of = make(map[string]int)
	}
	o.of[sender]++
	o.all++
	n := o.of[sender]
	return n <= maxOpenCalls && (o.all <= maxAllOpenCalls || n <= fewOpenCalls)
}

func (o *openCalls) end(sender string) {
	o.all--
	if o.of[sender]--; o.of[sender] <= 0 {
		delete(o.of, sender)
	}
}
