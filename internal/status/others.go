package status

import (
	"fmt"
	"io"
	"strings"
)

// PrintOthers says which daemon the report is of and names the others, if there are any and the command line did not name
// a bus.
func (r *Report) PrintOthers(w io.Writer) {
	if len(r.Others) == 0 {
		return
	}
	wrap(w, "", "  ", fmt.Sprintf("%d daemons are running; this is the one on %s. The others, for --bus:", 1+len(r.Others), r.Bus))
	for _, o := range r.Others {
		fmt.Fprintln(w, "  "+o)
	}
	fmt.Fprintln(w)
}

// Elsewhere adds to a sentence about this daemon that there are others, which were not asked.
func (r *Report) Elsewhere() string {
	if len(r.Others) == 0 {
		return ""
	}
	return fmt.Sprintf("; this is the daemon on %s, others run on %s (--bus)", r.Bus, strings.Join(r.Others, " and "))
}
