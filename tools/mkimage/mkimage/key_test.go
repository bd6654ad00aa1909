package mkimage

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/tpm"
)

// TestBuilderKey: keys are made once, for nobody else to read, and others can be named.
func TestBuilderKey(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	build := func(update, release string) *Key {
		t.Helper()
		k, err := BuilderKey(update, release)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := build("", "")
	if again := build("", ""); !again.Public.Equal(first.Public) || !again.Release.Equal(first.Release) {
		t.Error("other keys the second time")
	}
	update, release := filepath.Join(config, "postern/update.key"), filepath.Join(config, "postern/release.key")
	for _, path := range []string{update, release} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v (%v)", st, err)
		}
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	other := build("", "")
	if other.Public.Equal(first.Public) || other.Release.Equal(first.Release) {
		t.Error("somebody else's keys")
	}
	if k := build(update, release); !k.Public.Equal(first.Public) || !k.Release.Equal(first.Release) {
		t.Error("other keys than were named")
	}
	if k := build(update, "none"); k.Release != nil {
		t.Error("a release key that nobody wanted")
	}
	own := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "postern/release.key")
	both := build(update, own+","+release)
	pcrs := tpm.PCRs{4: {4}, 11: {11}, 12: {}}
	list, err := both.approve(7, []tpm.PCRs{pcrs})
	if err != nil || len(list) != 2 || !list[0].Fits(other.Release, pcrs) || !list[1].Fits(first.Release, pcrs) || !both.Release.Equal(other.Release) {
		t.Errorf("%v (%v)", list, err)
	}
	for _, bad := range []string{filepath.Join(config, "nothing"), update} {
		if _, err := BuilderKey(update, bad); err == nil {
			t.Errorf("%s: taken", bad)
		}
	}
	if _, err := BuilderKey(release, ""); err == nil {
		t.Error("a release key signs updates")
	}
}

// TestPublished: with what lies beside an image anybody has its keys and approvals, but for the image that it is of alone.
func TestPublished(t *testing.T) {
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	systems := []tpm.PCRs{{4: {4}, 11: {11}, 12: {}}, {4: {4}, 11: {12}, 12: {}}}
	r := &Result{Board: "qemu", Number: 7, o: Options{Key: k}, files: contents{}, systems: systems}
	if err := r.addRelease(); err != nil {
		t.Fatal(err)
	}
	if r.Approvals, err = r.approvals(k, 7); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	was, theirs, err := published(text)
	if err != nil || was.Number != 7 || was.Board != "qemu" {
		t.Fatalf("%+v (%v)", was, err)
	}
	again := &Result{Board: "qemu", Number: 7, o: Options{Key: theirs}, files: contents{}, systems: systems}
	if err := again.addRelease(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{update.KeysFile, update.ReleaseFile, keys.ReleaseFile[1:]} {
		if string(again.files[name].data) != string(r.files[name].data) || len(r.files[name].data) == 0 {
			t.Errorf("%s: %q, and was %q", name, again.files[name].data, r.files[name].data)
		}
	}
	if list, err := again.approvals(theirs, 7); err != nil || string(list) != string(r.Approvals) {
		t.Errorf("%s (%v)", list, err)
	}
	again.systems = []tpm.PCRs{systems[0], {4: {5}, 11: {12}, 12: {}}}
	if _, err := again.approvals(theirs, 7); !errors.Is(err, ErrNotTheSame) {
		t.Errorf("another image: %v", err)
	}
	again.systems = systems
	if _, err := again.approvals(theirs, 8); !errors.Is(err, ErrNotTheSame) {
		t.Errorf("another number: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"update_key":"x"}`} {
		if _, _, err := published([]byte(bad)); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

// TestManifestForetells: a bundle has the registers of each device tree, and a release key's word for each.
func TestManifestForetells(t *testing.T) {
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &Result{
		Board: "rock5", Number: 7, o: Options{Key: k}, chain: bundle.ChainUBoot, PCRs: map[int]string{11: "none"},
		Trees: map[string]map[int]string{"rockchip/rk3588-rock-5b": {11: "5b"}}, compatible: map[string]string{"rockchip/rk3588-rock-5b": "radxa,rock-5b"},
		systems: []tpm.PCRs{{11: {1}}, {11: {2}}},
	}
	m, err := r.manifest(r.Release(), k)
	if err != nil {
		t.Fatal(err)
	}
	if m.Foretold(bundle.ChainUBoot, "radxa,rock-5b")[11] != "5b" || m.Foretold(bundle.ChainUBoot, "")[11] != "none" {
		t.Errorf("%v", m.Measured)
	}
	list, err := keys.ParseApprovals(m.Approvals)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v (%v)", list, err)
	}
	for i, a := range list {
		if a.Number != 7 || !a.Fits(k.Release, r.systems[i]) || a.Fits(k.Release, r.systems[1-i]) {
			t.Errorf("approval %d: %+v", i, a)
		}
	}
	bare := *k
	bare.Release = nil
	if m, err := r.manifest(r.Release(), &bare); err != nil || m.Approvals != nil {
		t.Errorf("without a release key: %s (%v)", m.Approvals, err)
	}
}
