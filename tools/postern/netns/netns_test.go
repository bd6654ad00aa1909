package netns

import (
	"net"
	"os/exec"
	"strings"
	"testing"
)

// What listens in one is not found from outside, whatever the port, and programs in it have nothing but loopback.
func TestNet(t *testing.T) {
	n := Require(t)
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("its listener is found from outside")
	}
	err = n.Do(func() error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Errorf("from inside: %v", err)
	}
	enter := n.Enter()
	out, err := exec.Command(enter[0], append(enter[1:], "cat", "/proc/net/dev")...).CombinedOutput()
	if err != nil || strings.Count(string(out), ":") != 1 || !strings.Contains(string(out), "lo:") {
		t.Errorf("%v\n%s", err, out)
	}
}
