package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bleak runs bleak_soak.py until ctx ends. It prints what it counts and finds, a word and the rest.
func (s *soak) bleak(ctx context.Context, args ...string) {
	name := "bleak " + args[0]
	cmd := exec.CommandContext(ctx, filepath.Join(s.root, ".venv", "bin", "python"),
		append([]string{filepath.Join(s.root, "tests", "soak", "bleak_soak.py")}, args...)...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+s.world.bus, "NUMBERS="+numbersUUID.String(), "PYTHONUNBUFFERED=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = cmd.Stdout
		err = cmd.Start()
	}
	if err != nil {
		s.found.add(name, err.Error())
		return
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "COUNT": // COUNT N what
			n, what, _ := strings.Cut(rest, " ")
			k, _ := strconv.ParseUint(n, 10, 63)
			s.tally.add(what, k)
		case "FAILED":
			s.tally.add("failed: "+name+": "+rest, 1)
		default: // LOST, or a traceback
			s.found.add(name, lines.Text())
		}
	}
	if err := cmd.Wait(); ctx.Err() == nil {
		s.found.add(name, fmt.Sprintf("it ended: %v", err))
	}
}
