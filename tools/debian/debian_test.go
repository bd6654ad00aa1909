package debian

import "testing"

func TestChoose(t *testing.T) {
	for _, c := range []struct{ name, targets, want string }{
		{"plain", "http://a.example/debian|Debian|Debian\nhttp://a.example/debian-security|Debian|Debian-Security\n", "http://a.example/debian"},
		{"security first", "http://s.example/x|Debian|Debian-Security\nhttps://m.example/deb|Debian|Debian\n", "https://m.example/deb"},
		{"neighbours", "https://n.example|nodesource|nodesource\nhttp://u.example/ubuntu|Ubuntu|Ubuntu\n", ""},
		{"no lists yet", "http://a.example/debian||\n||\n", ""},
		{"backports only", "http://b.example/debian|Debian Backports|Debian Backports\n", ""},
		{"nothing", "", ""},
	} {
		if got := choose(c.targets); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
