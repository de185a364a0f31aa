package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is the computer and the versions with which the benchmarks ran.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	// Load is the machine's load average at the start, which shows how busy it was with other work.
	Load     string   `json:"load"`
	Versions []string `json:"versions"`
	Command  string   `json:"command"`
}

// packages are the Python packages whose versions the report names: those of the reference and of its clients.
const packages = "bleak-esphome habluetooth aioesphomeapi bleak dbus-fast"

func newMachine(ctx context.Context, o *options) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), Command: "bench " + strings.Join(os.Args[1:], " "), CPU: "unknown processor"}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	for l := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(l, ":"); strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	if m.Kernel, err = kernel(); err != nil {
		return m, err
	}
	if m.Load, err = loadAverage(); err != nil {
		return m, err
	}
	m.Versions = []string{runtime.Version()}
	for _, c := range [][]string{
		{o.bin, "version"},
		{o.python, "--version"},
		{o.python, "-c", "import importlib.metadata as m, sys\nfor p in sys.argv[1].split(): print(p, m.version(p))", packages},
		{"dbus-daemon", "--version"},
	} {
		out, err := exec.CommandContext(ctx, c[0], c[1:]...).Output()
		if err != nil {
			return m, fmt.Errorf("cannot tell a version: %s: %w", strings.Join(c, " "), err)
		}
		text := strings.TrimSpace(string(out))
		if c[0] == "dbus-daemon" { // it also prints a licence
			text, _, _ = strings.Cut(text, "\n")
		}
		m.Versions = append(m.Versions, strings.Split(text, "\n")...)
	}
	return m, nil
}

func (m *machine) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "Measured on %s, %d cores, %s; load average at the start %s.\nWith %s.\n",
		m.CPU, m.Cores, m.Kernel, m.Load, strings.Join(m.Versions, ", "))
}

// kernel gives the name and the release of the kernel.
func kernel() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]), nil
}

// loadAverage gives the load average of the last minute.
func loadAverage() (string, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	load, _, _ := strings.Cut(string(b), " ")
	return load, nil
}
