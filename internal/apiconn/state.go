package apiconn

// State is the state of a proxy as its operator sees it.
type State uint8

// States of a proxy.
const (
	StateOffline    State = iota // no session; waiting to try again, or never started
	StateConnecting              // an attempt is under way
	StateOnline                  // subscribed
	StateAuthFailed              // the key or the password is wrong; retried slowly
	StateDisplaced               // another API client has the proxy
	StateDeaf                    // the session is up but no advertisements come any more
)

// String gives the word that status shows.
func (s State) String() string {
	switch s {
	case StateConnecting:
		return "connecting"
	case StateOnline:
		return "online"
	case StateAuthFailed:
		return "auth-failed"
	case StateDisplaced:
		return "displaced"
	case StateDeaf:
		return "deaf"
	}
	return "offline"
}
