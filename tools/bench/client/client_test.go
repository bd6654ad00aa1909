package client_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/tools/bench/client"
)

type accounts struct{}

func (accounts) Lookup(_ context.Context, name, _ string) ([16]byte, auth.Identity, error) {
	if name != "alice" {
		return [16]byte{}, auth.Identity{}, nt.NoSuchUser
	}
	return ntlm.NTHash("secret"), auth.Identity{User: "alice", SID: dtyp.NewSID(5, 21, 1, 2, 3, 1000)}, nil
}

func dial(t *testing.T, protection client.Protection) (*client.Client, error) {
	t.Helper()
	srv, err := smb.NewServer(smb.Config{
		Name:       "bench",
		Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "BENCH", DNSName: "bench", Accounts: accounts{}})},
		Shares: []smb.Share{{
			Name: "share", Volume: memfs.New(), Encrypt: protection == client.Sealed,
			Rights: func(*auth.Identity) dtyp.Access { return dtyp.FileAll },
		}},
		SigningOptional: protection == client.Plain,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.ServeConn(context.Background(), server, smb.ConnInfo{ID: "1", Transport: "tcp"}) // ends with the test
	}()
	t.Cleanup(func() { conn.Close(); <-served })
	return client.Dial(conn, "alice", "secret", protection)
}

// What the loads of the bench ask for is done, whatever protects it; and what is wrong is an error.
func TestClient(t *testing.T) {
	for _, protection := range []client.Protection{client.Signed, client.Plain, client.Sealed} {
		t.Run(protection.String(), func(t *testing.T) {
			c, err := dial(t, protection)
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Mount("share")
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.Open("file", client.ForWriting)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Write(0, make([]byte, 1<<20)), f.Write(1<<20, make([]byte, 77)), f.Read(5, 1<<20), f.Close()); err != nil {
				t.Error(err)
			}
			if f, err = s.Open("file", client.ForReading); err != nil {
				t.Fatal(err)
			}
			if err := f.Read(1<<20, 100); err == nil {
				t.Error("more is read than there is")
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if f, err = s.Open("file", client.ForRename); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Rename("other"), f.Close()); err != nil {
				t.Error(err)
			}
			root, err := s.Open("", client.ForListing)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := root.List(); err != nil || n != 3 {
				t.Errorf("%d entries (%v), want 3", n, err)
			}
			if err := root.Close(); err != nil {
				t.Error(err)
			}
			if f, err = s.Open("other", client.ForDelete); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if _, err := s.Open("other", client.ForStat); !errors.Is(err, nt.ObjectNameNotFound) {
				t.Errorf("what was deleted: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if _, err := s.Open("file", client.ForStat); err == nil {
				t.Error("after the end something is opened")
			}
		})
	}
}
