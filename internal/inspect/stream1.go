package inspect

import (
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/stream"
)

// streamPath is the object that tells of the stream to a broker. It is always there.
const streamPath = Folder + "/stream"

// ShowStream adds the object that tells of the stream: org.bluez_esphome.Stream1. status gives false while nothing is
// streamed. In the loop, or before it runs.
//
// Its one property moves all the time and is never signalled. It is empty while nothing is streamed, else it has State
// (connecting, connected or waiting), Broker, Topic, Format, Since (of State, seconds since 1970), LastError (absent if
// nothing went wrong), Sessions, Offered, Published, Dropped, Refused, Queued, Unacked, Limit and Bytes, as in
// stream.Status.
func ShowStream(conn *dbusobj.Conn, status func() (stream.Status, bool)) {
	conn.Add(streamPath, nil, &dbusobj.Interface{
		Name: "org.bluez_esphome.Stream1",
		Properties: []dbusobj.Property{{
			Name: "Stream", Type: "a{sv}",
			Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) {
				st, on := status()
				e.Array("{sv}", func() {
					if on {
						encodeStream(e, st)
					}
				})
			},
		}},
	})
}

func encodeStream(e *dbusobj.Encoder, st stream.Status) {
	text(e, "State", string(st.State))
	text(e, "Broker", st.Broker)
	text(e, "Topic", st.Topic)
	text(e, "Format", st.Format)
	number(e, "Since", uint64(st.Since.Unix()))
	if st.LastError != "" {
		text(e, "LastError", st.LastError)
	}
	number(e, "Sessions", st.Sessions)
	number(e, "Offered", st.Offered)
	number(e, "Published", st.Published)
	number(e, "Dropped", st.Dropped)
	number(e, "Refused", st.Refused)
	number(e, "Queued", uint64(st.Queued))
	number(e, "Unacked", uint64(st.Unacked))
	number(e, "Limit", uint64(st.Limit))
	number(e, "Bytes", st.Bytes)
}
