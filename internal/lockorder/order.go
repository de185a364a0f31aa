package lockorder

// Rank is a lock's place in the order. Its types are those of this file.
type Rank interface{ isRank() }

type rank struct{}

func (rank) isRank() {}

// The ranks, outermost first. docs/architecture.md says of each what it guards.
type (
	Page             struct{ rank }
	ShareChange      struct{ rank }
	ControllerChange struct{ rank }
	StreamChange     struct{ rank }
	AdapterAttach    struct{ rank }
	ProxyTelling     struct{ rank }
	Relay            struct{ rank }
	Merge            struct{ rank }
	ShareMerged      struct{ rank }
	ShareServer      struct{ rank }
	ShareProxy       struct{ rank }
	ShareDoor        struct{ rank }
	Controller       struct{ rank }
	Finder           struct{ rank }
	Proxies          struct{ rank }
	Board            struct{ rank }
	PipeRead         struct{ rank }
	Owners           struct{ rank }
	Links            struct{ rank }
	Records          struct{ rank }
	StoreWrite       struct{ rank }
	Store            struct{ rank }
	LinkEvents       struct{ rank }
	BusEvents        struct{ rank }
	Loop             struct{ rank }
	Pipe             struct{ rank }
	Sharer           struct{ rank }
	Proxy            struct{ rank }
	Adapters         struct{ rank }
	ScanMode         struct{ rank }
	Air              struct{ rank }
	Previous         struct{ rank }
	Session          struct{ rank }
	SessionState     struct{ rank }
	Conflict         struct{ rank }
	Operations       struct{ rank }
	Writer           struct{ rank }
	HostRest         struct{ rank }
	HostSession      struct{ rank }
	HostWriting      struct{ rank }
	HostQueue        struct{ rank }
	ControllerScan   struct{ rank }
	Leaf             struct{ rank }
	Log              struct{ rank }
)

// order is the same, for the check.
var order = []Rank{
	Page{}, ShareChange{}, ControllerChange{}, StreamChange{}, AdapterAttach{}, ProxyTelling{}, Relay{}, Merge{}, ShareMerged{},
	ShareServer{}, ShareProxy{}, ShareDoor{}, Controller{}, Finder{}, Proxies{}, Board{}, PipeRead{}, Owners{}, Links{},
	Records{}, StoreWrite{}, Store{}, LinkEvents{}, BusEvents{}, Loop{}, Pipe{}, Sharer{}, Proxy{}, Adapters{},
	ScanMode{}, Air{}, Previous{}, Session{}, SessionState{}, Conflict{}, Operations{}, Writer{}, HostRest{}, HostSession{},
	HostWriting{}, HostQueue{}, ControllerScan{}, Leaf{}, Log{},
}

// Names lists the ranks, outermost first.
func Names() []string {
	out := make([]string, len(order))
	for i, r := range order {
		out[i] = nameOf(r)
	}
	return out
}
