package privatebus

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/renameio/v2"
)

// configuration lets every user who can reach the socket talk to everybody; reaching it is what the permissions of its
// folder decide. Nobody may own a name but who is let to, by [policy]: dbus-daemon refuses what no rule allows. The
// limits are the system bus's where they matter: one client may not take all descriptors or connections. No message of
// BlueZ's has more than one descriptor; and as soon as more of them than max_outgoing_unix_fds (64 by default) wait for
// us, the bus refuses everybody's calls, so that this is out of reach.
const configuration = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow send_type="method_call"/>
    <allow receive_sender="*"/>
  </policy>
%s  <limit name="max_match_rules_per_connection">4096</limit>
  <limit name="max_replies_per_connection">65536</limit>
  <limit name="max_connections_per_user">1024</limit>
  <limit name="max_message_unix_fds">1</limit>
  <limit name="max_outgoing_unix_fds">16384</limit>
</busconfig>
`

// ownedName is the only name that anybody may own.
const ownedName = "org.bluez"

// policy says who may own org.bluez: the user of this process, or nobody any more.
func policy(sealed bool) string {
	if sealed {
		return ""
	}
	return fmt.Sprintf("  <policy user=\"%d\">\n    <allow own=%q/>\n  </policy>\n", os.Getuid(), ownedName)
}

// escape makes text fit for XML and for a D-Bus address.
func escape(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_/.*", c) >= 0:
			b.WriteByte(c)
		default: // D-Bus specification, Server Addresses
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// writeConfiguration replaces the file of a bus that listens, or is to listen, at path.
func writeConfiguration(file, path string, sealed bool) error {
	text := fmt.Sprintf(configuration, escape(path), policy(sealed))
	if err := renameio.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("cannot write the private bus's configuration: %w", err)
	}
	return nil
}
