package inspect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/lockorder"
)

// configurationPath is the object that tells how the configuration on disk stands to the one that is in use.
const configurationPath = Folder + "/configuration"

// Bounds of what is shown of the mistakes: every client that lists all objects gets it.
const (
	maxMistakes     = 5   // lines
	maxMistakeBytes = 400 // of a line
)

// Configuration shows what became of the newest reload, for as long as it matters: org.bluez_esphome.Configuration1.
// Its methods are goroutine-safe; those of a nil Configuration do nothing.
type Configuration struct {
	conn     *dbusobj.Conn
	file     string
	captures string

	mu      lockorder.Mutex[lockorder.Leaf]
	problem string    // empty: the file is in use
	since   time.Time // of the first reload that found a mistake, valid with problem
	restart []string
	obj     *dbusobj.Object
	iface   *dbusobj.Interface
}

// NewConfiguration adds the object for a configuration that was read from file and is in use; before the loop runs.
// captures is the socket of package capture, empty if there is none.
func NewConfiguration(conn *dbusobj.Conn, file, captures string) *Configuration {
	c := &Configuration{conn: conn, file: file, captures: captures}
	c.iface = c.newInterface()
	c.obj = conn.Add(configurationPath, c, c.iface)
	return c
}

// Failed says that the file on disk could not be used at that time, and why. Since stays that of the first failure in a
// row.
func (c *Configuration) Failed(err error, at time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	if c.problem == "" {
		c.since = at
	}
	c.problem = mistakes(err)
	c.mu.Unlock()
	c.changed()
}

// Applied says that the file on disk is in use, but for those keys, which wait for the next start.
func (c *Configuration) Applied(restart []string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.problem, c.restart = "", slices.Clone(restart)
	c.mu.Unlock()
	c.changed()
}

// Remarks gives the mistakes of the file on disk, a line each, and the keys that wait for the next start.
func (c *Configuration) Remarks() (problem string, restart []string) {
	if c == nil {
		return "", nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem, slices.Clone(c.restart)
}

func (c *Configuration) changed() {
	c.conn.Post(func() { c.obj.Changed(c.iface, "Problem", "Since", "RestartKeys") })
}

// mistakes gives the first lines of an error.
func mistakes(err error) string {
	lines := strings.Split(err.Error(), "\n")
	rest := len(lines) - maxMistakes
	lines = lines[:min(len(lines), maxMistakes)]
	for i, l := range lines {
		if len(l) > maxMistakeBytes {
			lines[i] = strings.ToValidUTF8(l[:maxMistakeBytes], "") + "…"
		}
	}
	if rest > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", rest))
	}
	return strings.ToValidUTF8(strings.Join(lines, "\n"), "?")
}

func (c *Configuration) newInterface() *dbusobj.Interface {
	locked := func(write func(e *dbusobj.Encoder)) func(*dbusobj.Object, *dbusobj.Encoder) {
		return func(_ *dbusobj.Object, e *dbusobj.Encoder) {
			c.mu.Lock()
			defer c.mu.Unlock()
			write(e)
		}
	}
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Configuration1",
		Properties: []dbusobj.Property{
			// The file, as it was named at the start.
			{Name: "File", Type: "s", Get: locked(func(e *dbusobj.Encoder) { e.String(c.file) })},
			// The socket that the command capture uses, which only root and the daemon's user can open; empty if there is none.
			{Name: "CaptureSocket", Type: "s", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.String(c.captures) }},
			// A mistake a line, at most five of them; empty while the file on disk is in use.
			{Name: "Problem", Type: "s", Get: locked(func(e *dbusobj.Encoder) { e.String(c.problem) })},
			// When the first reload in a row found a mistake, in seconds since 1970; 0 while there is none.
			{Name: "Since", Type: "t", Get: locked(func(e *dbusobj.Encoder) {
				if c.problem == "" {
					e.Uint64(0)
					return
				}
				e.Uint64(uint64(c.since.Unix()))
			})},
			// Keys of the file that a reload changed and that take effect with the next start.
			{Name: "RestartKeys", Type: "as", Get: locked(func(e *dbusobj.Encoder) {
				e.Array("s", func() {
					for _, k := range c.restart {
						e.String(k)
					}
				})
			})},
		},
	}
}
