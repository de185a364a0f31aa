package harness

import "os/exec"

// Server finds a program that distributions put where only root looks, as they do with brokers.
func Server(name string) (path string, ok bool) {
	for _, p := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path, true
		}
	}
	return "", false
}
