package ntlm

import (
	"bytes"
	"context"
	"encoding/asn1"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
)

// TestPeerGoSMB2 logs on with a client that others wrote.
func TestPeerGoSMB2(t *testing.T) {
	for _, target := range []string{"", "cifs/nas.example"} {
		c := &smb2.NTLMInitiator{User: "änne", Password: "pässword", Workstation: "PEER", TargetSPN: target}
		a := New(config()).Acceptor(auth.Channel{Bindings: [][]byte{[]byte("tls-exporter:x")}}).(*acceptor)
		n, err := c.InitSecContext()
		if err != nil {
			t.Fatal(err)
		}
		challenge, _, err := a.Accept(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := c.AcceptSecContext(challenge)
		if err != nil {
			t.Fatal(err)
		}
		_, id, err := a.Accept(context.Background(), msg)
		if err != nil {
			t.Fatal(err)
		}
		if id.User != "Änne" || id.Workstation != "PEER" || !bytes.Equal(id.SessionKey, c.SessionKey()) || !a.Protected() {
			t.Errorf("identity %+v", id)
		}
		if err := a.VerifyMIC([]byte("mechTypes"), c.Sum([]byte("mechTypes"))); err != nil {
			t.Error(err)
		}
	}
}

type negTokenInit struct {
	MechTypes []asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	MechToken []byte                  `asn1:"explicit,tag:2"`
}

type negTokenResp struct {
	State asn1.Enumerated       `asn1:"explicit,tag:0"`
	Mech  asn1.ObjectIdentifier `asn1:"explicit,optional,tag:1"`
	Token []byte                `asn1:"explicit,optional,tag:2"`
	MIC   []byte                `asn1:"explicit,optional,tag:3"`
}

// TestSPNEGO is a whole logon as a client of SMB does it: NTLM within SPNEGO, and a mechListMIC each way.
func TestSPNEGO(t *testing.T) {
	marshal := func(v any, params string) []byte {
		b, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mechs := []asn1.ObjectIdentifier{auth.OIDNTLM}
	list := marshal(mechs, "")
	for _, withMIC := range []bool{true, false} {
		a := auth.NewAcceptor([]auth.Mechanism{New(config())}, auth.Channel{})
		c := &ntlmtest.Client{User: "User", Password: "Password", Target: "cifs/nas"}
		init := marshal(negTokenInit{mechs, c.Negotiate()}, "explicit,tag:0")
		init = marshal(asn1.RawValue{
			Class: asn1.ClassApplication, Tag: 0, IsCompound: true,
			Bytes: append(marshal(auth.OIDSPNEGO, ""), init...),
		}, "")
		out, id, err := a.Accept(context.Background(), init)
		if err != nil || id != nil {
			t.Fatal(err)
		}
		var r negTokenResp
		if _, err := asn1.UnmarshalWithParams(out, &r, "explicit,tag:1"); err != nil || r.State != 1 || !r.Mech.Equal(auth.OIDNTLM) {
			t.Fatalf("%+v, %v", r, err)
		}
		msg, err := c.Authenticate(r.Token)
		if err != nil {
			t.Fatal(err)
		}
		leg := negTokenResp{State: 1, Token: msg}
		if withMIC {
			leg.MIC = c.MIC(list)
		}
		out, id, err = a.Accept(context.Background(), marshal(leg, "explicit,tag:1"))
		if !withMIC {
			// The NTLM exchange was protected, so its MIC over the list is due ([MS-SPNG] 3.2.5.1).
			if err == nil || id != nil {
				t.Error("logged on without a mechListMIC")
			}
			continue
		}
		if err != nil || id == nil || !bytes.Equal(id.SessionKey, c.SessionKey()) {
			t.Fatalf("%+v, %v", id, err)
		}
		r = negTokenResp{}
		if _, err := asn1.UnmarshalWithParams(out, &r, "explicit,tag:1"); err != nil || r.State != 0 || r.Token != nil || !c.VerifyMIC(list, r.MIC) {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// TestSEC21ConstantTime: nobody compares secrets with what stops at the first difference.
func TestSEC21ConstantTime(t *testing.T) {
	var files int
	for _, dir := range []string{".", "..", "../../crypt"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			files++
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"bytes.Equal", "bytes.Compare", "slices.Equal", "reflect."} {
				if bytes.Contains(src, []byte(bad)) {
					t.Errorf("%s uses %s: compare with crypto/subtle, or this test with a better one", name, bad)
				}
			}
		}
	}
	if files < 8 {
		t.Errorf("only %d files found", files)
	}
}

// TestSEC26SameTime: the median refusal of an unknown user takes as long as that of a wrong password. What is
// looked for is a step left out, not a nanosecond: calculating nothing for an unknown user takes a fifth of it.
func TestSEC26SameTime(t *testing.T) {
	m := New(config())
	clients := []*ntlmtest.Client{{User: "User", Password: "x"}, {User: "Nope", Password: "x"}}
	times := make([][]time.Duration, len(clients))
	for range 2000 {
		for i, c := range clients {
			a := m.Acceptor(auth.Channel{})
			challenge, _, err := a.Accept(context.Background(), c.Negotiate())
			if err != nil {
				t.Fatal(err)
			}
			msg, err := c.Authenticate(challenge)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, _, err = a.Accept(context.Background(), msg)
			times[i] = append(times[i], time.Since(start))
			if err == nil {
				t.Fatal("logged on")
			}
		}
	}
	for _, list := range times {
		slices.Sort(list)
	}
	wrong, unknown := times[0][1000], times[1][1000]
	t.Logf("wrong password %v, unknown user %v", wrong, unknown)
	if unknown < wrong*3/4 || wrong < unknown*3/4 {
		t.Errorf("wrong password %v, unknown user %v", wrong, unknown)
	}
}
