package interop

import (
	"context"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
)

// TestImpacket is a third opinion: impacket's client copies a file, and its RPC library, with an NDR of its own, takes
// apart what the pipes answer. Its logon has no integrity code, as that of Linux's own client.
func TestImpacket(t *testing.T) {
	p := peers.Require(t)
	srv := postern.Run(t, postern.Config{
		Name: serverName, Linux: true,
		Users: []postern.User{{Name: alice, Password: bobPassword}, {Name: carol, Password: carolPassword, Admin: true}},
		Shares: []postern.Share{
			{Name: "disk", Path: t.TempDir()},
		},
	})
	source, err := os.ReadFile("testdata/impacket.py")
	if err != nil {
		t.Fatal(err)
	}
	script := p.TempDir(t).Sub("ask.py") // not impacket.py: it would import itself
	if err := os.WriteFile(script.Host, source, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	said, err := p.Command(ctx, "python3", script.Inside, portOf(t, srv.TCP), carol, carolPassword).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var got map[string]any
	if err := json.Unmarshal(said, &got); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var want map[string]any
	if err := json.Unmarshal([]byte(`{
		"dialect": 768, "signed": true, "shares": ["IPC$", "disk"],
		"same": true, "names": [["y", 2097152]], "left": [],
		"domains": ["NAS", "Builtin"], "users": {"alice": [1000, 528, [513]], "carol": [1001, 528, [513]]},
		"domain classes": true, "user classes": true,
		"names of SIDs": [["alice", 1], ["Administrators", 4], ["Everyone", 5]],
		"sessions 0": 1, "sessions 1": 1, "sessions 2": 1, "sessions 10": 1, "sessions 502": 1,
		"files": ["\\PIPE\\lsarpc", "\\PIPE\\samr", "\\PIPE\\srvsvc"], "connections": ["carol"],
		"shares 0": 2, "shares 1": 2, "shares 2": 2, "shares 501": 2, "shares 502": 2, "shares 503": 2,
		"server": "NAS", "disks": ["C:", ""], "transports": ["\\Device\\TCP"], "opened": true,
		"workgroup": "WORKGROUP", "logged on": ["carol"]
	}`), &want); err != nil {
		t.Fatal(err)
	}
	for key, w := range want {
		if g := got[key]; !reflect.DeepEqual(g, w) {
			t.Errorf("%s: %v, want %v", key, g, w)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: not expected: %v", key, got[key])
		}
	}
}
