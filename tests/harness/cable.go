package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// cables counts the calls of Cable, for the names of namespaces.
var cables atomic.Int32

// Cable makes two network namespaces with a cable between them, which go with the test: multicast stays in them. left
// and right are the addresses at the two ends, all of them in one network of 256 addresses. The names that it returns
// are those of ip(8). Where it cannot make namespaces, it skips the test.
func Cable(t testing.TB, left, right []string) (one, other string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make network namespaces (run it as root)")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("there is no ip(8) (apt install iproute2)")
	}
	name := fmt.Sprintf("be%d-%d", os.Getpid(), cables.Add(1))
	one, other = name+"a", name+"b"
	ip := func(args string) error {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
		return nil
	}
	t.Cleanup(func() {
		for _, ns := range []string{one, other} {
			if err := ip("netns del " + ns); err != nil {
				t.Log(err)
			}
		}
	})
	commands := []string{"netns add " + one, "netns add " + other, "-n " + one + " link add eth7 type veth peer name eth7 netns " + other}
	for ns, addrs := range map[string][]string{one: left, other: right} {
		for _, a := range addrs {
			commands = append(commands, "-n "+ns+" addr add "+a+"/24 dev eth7")
		}
		commands = append(commands, "-n "+ns+" link set eth7 up", "-n "+ns+" link set lo up")
	}
	for _, c := range commands {
		if err := ip(c); err != nil {
			t.Skipf("no network namespaces can be made here (run it outside of the container): %v", err)
		}
	}
	return one, other
}
