package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
)

// TestPoolShares follows shares whose pools come and go: one that was there from the start, one whose pool was missing then, and one
// that the owner has added meanwhile, which is served already.
func TestPoolShares(t *testing.T) {
	server, err := smb.NewServer(smb.Config{Name: "test", Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "TEST"})}})
	if err != nil {
		t.Fatal(err)
	}
	shares := &sharing{}
	add := func(name string, serve bool) config.Share {
		t.Helper()
		sh := config.Share{Name: name, Path: t.TempDir()}
		shares.put(sh)
		if serve {
			made, err := openShare(sh)
			if err == nil {
				err = server.AddShare(made)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return sh
	}
	served := func(sh config.Share) bool { return server.SetComment(sh.Name, "") == nil }
	first, late := add("first", true), add("late", false)
	var log bytes.Buffer
	p := &poolShares{shares: shares, server: server, served: map[string]string{first.Name: "pool 1", late.Name: ""}, log: slog.New(slog.NewTextHandler(&log, nil))}
	added := add("added", true)

	for range 2 { // it is looked at each minute
		for _, sh := range shares.list() {
			p.follow(sh, "pool 1")
		}
	}
	if !served(first) || !served(late) || !served(added) || strings.Contains(log.String(), "ERROR") || strings.Count(log.String(), "its pool has come") != 1 {
		t.Errorf("with the pool:\n%s", log.String())
	}
	p.follow(added, "")
	if served(added) {
		t.Error("a share without its pool is served")
	}
	p.follow(added, "pool 2")
	if !served(added) {
		t.Errorf("its pool has come back:\n%s", log.String())
	}
	gone := add("gone", true)
	if p.follow(gone, ""); served(gone) {
		t.Error("a share whose pool went as soon as it was added is served")
	}
}
