package bluezshim

import (
	"slices"
	"strings"
	"sync/atomic"

	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// An agent is one client's pairing agent.
type agent struct {
	shim   *Shim
	sender string
	path   dbus.ObjectPath
}

// agentList is the pairing agents, the default one first. It belongs to the loop, but for some.
type agentList struct {
	list []*agent
	some atomic.Bool // there is one; for Shim.AgentRegistered
}

// of gives the index of a client's agent, or -1.
func (l *agentList) of(sender string) int {
	return slices.IndexFunc(l.list, func(a *agent) bool { return a.sender == sender })
}

// at gives the index of a client's agent if it is the one at path, or -1.
func (l *agentList) at(sender string, path dbus.ObjectPath) int {
	i := l.of(sender)
	if i >= 0 && l.list[i].path != path {
		return -1
	}
	return i
}

// makeDefault puts the agent at index i first.
func (l *agentList) makeDefault(i int) {
	ag := l.list[i]
	l.list = slices.Insert(slices.Delete(l.list, i, i+1), 0, ag)
}

const agentInterface = "org.bluez.Agent1"

// maxAgents bounds the list; each bus name can have one.
const maxAgents = 4096

var capabilities = []string{"DisplayOnly", "DisplayYesNo", "KeyboardOnly", "NoInputNoOutput", "KeyboardDisplay"}

// newAgentManagerInterface makes org.bluez.AgentManager1 of bluetoothd 5.87. A proxy can only do Just
// Works, so agents are registered, ordered and released, and never asked.
func newAgentManagerInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.AgentManager1",
		Methods: []dbusobj.Method{
			{Name: "RegisterAgent", In: []dbusobj.Arg{{Name: "agent", Type: "o"}, {Name: "capability", Type: "s"}}, Call: registerAgent},
			{Name: "UnregisterAgent", In: []dbusobj.Arg{{Name: "agent", Type: "o"}}, Call: unregisterAgent},
			{Name: "RequestDefaultAgent", In: []dbusobj.Arg{{Name: "agent", Type: "o"}}, Call: requestDefaultAgent},
		},
	}
}

func registerAgent(c *dbusobj.Call) {
	s := c.Object.Data().(*Shim)
	path, capability := c.Body[0].(dbus.ObjectPath), c.Body[1].(string)
	switch {
	case s.agents.of(c.Sender) >= 0:
		errAlreadyExists.to(c)
	case !slices.ContainsFunc(capabilities, func(known string) bool { return strings.HasPrefix(known, capability) }):
		errInvalidArguments.to(c) // bluetoothd takes any beginning of a name, and the empty one
	case len(s.agents.list) >= maxAgents:
		errFailed("Too many agents").to(c)
	default:
		s.agents.list = append(s.agents.list, &agent{s, c.Sender, path})
		s.watchClient(c.Sender)
		c.Reply()
		if len(s.agents.list) == 1 {
			s.setPairable(true)
		}
	}
}

func unregisterAgent(c *dbusobj.Call) {
	s := c.Object.Data().(*Shim)
	if s.agents.at(c.Sender, c.Body[0].(dbus.ObjectPath)) < 0 {
		errDoesNotExist.to(c)
		return
	}
	s.removeAgent(c.Sender)
	c.Reply()
}

func requestDefaultAgent(c *dbusobj.Call) {
	s := c.Object.Data().(*Shim)
	i := s.agents.at(c.Sender, c.Body[0].(dbus.ObjectPath))
	if i < 0 {
		errDoesNotExist.to(c)
		return
	}
	s.agents.makeDefault(i)
	c.Reply()
}

func (s *Shim) removeAgent(sender string) {
	if i := s.agents.of(sender); i >= 0 {
		s.agents.list = slices.Delete(s.agents.list, i, i+1)
		if len(s.agents.list) == 0 {
			s.setPairable(false)
		}
	}
}

// setPairable makes the adapters pairable when the first agent comes, and ends that when the last one goes
// (bluetoothd 5.87, AlwaysPairable=false); in between it is the user's.
func (s *Shim) setPairable(on bool) {
	s.agents.some.Store(on)
	for _, a := range s.adapters {
		a.setPairable(on)
	}
}

// AgentRegistered reports whether any client has a pairing agent. Only then may an operation that
// needs security pair by itself, as with bluetoothd. It is goroutine-safe.
func (s *Shim) AgentRegistered() bool { return s.agents.some.Load() }

func (a *agent) call(member, sig string, args func(*dbusobj.Encoder)) {
	a.shim.conn.Call(a.sender, a.path, agentInterface, member, sig, args, 0, nil)
}
