package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/firmware/state"
)

func TestJSON(t *testing.T) {
	type list struct {
		Version int      `json:"version"`
		Names   []string `json:"names"`
	}
	path := filepath.Join(t.TempDir(), "list.json")
	if err := state.WriteJSON(path, list{1, []string{"a", "b"}}, 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got list
	if err := state.DecodeJSON(data, len(data), 1, &got); err != nil || got.Version != 1 || len(got.Names) != 2 {
		t.Errorf("%+v (%v)", got, err)
	}
	for n := range len(data) - 1 { // the last byte is a line's end
		if state.DecodeJSON(data[:n], 1<<20, 1, &list{}) == nil {
			t.Errorf("cut to %d bytes it is taken", n)
		}
	}
	for name, bad := range map[string]string{
		"two values": `{"version": 1} {}`, "something behind": `{"version": 1} x`,
		"another type": `{"version": "1"}`, "nothing": "",
	} {
		if state.DecodeJSON([]byte(bad), 1<<20, 1, &list{}) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if state.DecodeJSON(data, len(data)-1, 1, &list{}) == nil {
		t.Error("one byte too many is taken")
	}
	// A later version has added a key, or changed what there was.
	if err := state.DecodeJSON([]byte(`{"version": 1, "names": ["a"], "more": {"x": []}}`), 1<<20, 1, &got); err != nil || len(got.Names) != 1 {
		t.Errorf("%+v (%v)", got, err)
	}
	for _, later := range []string{`{"version": 2, "names": ["a"]}`, `{"version": 2, "names": {"a": 1}}`, `{"form": 7}`} {
		if err := state.DecodeJSON([]byte(later), 1<<20, 1, &got); !errors.Is(err, state.ErrLater) {
			t.Errorf("%s: %v", later, err)
		}
	}
}
