package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// descriptor makes a descriptor that can be told from others by n, with n ACEs.
func (p *paper) descriptor(n int) []byte {
	p.Helper()
	sd := &dtyp.SecurityDescriptor{Owner: dtyp.Administrators.Child(uint32(n)), Group: dtyp.BuiltinUsers, DACL: &dtyp.ACL{Revision: 2}}
	for range n {
		sd.DACL.ACEs = append(sd.DACL.ACEs, dtyp.ACE{Mask: dtyp.FileAll, SID: dtyp.Everyone})
	}
	b, err := sd.Append(nil)
	p.ok(err)
	return b
}

// security returns what is stored, and skips the question where nothing can be.
func (p *paper) security(f vfs.File) []byte {
	p.Helper()
	s, ok := f.(vfs.Security)
	if !ok {
		p.Skip("the volume keeps no descriptors")
	}
	b, err := s.SecurityDescriptor(p.ctx)
	if errors.Is(err, nt.NotSupported) {
		p.refused(s.SetSecurityDescriptor(p.ctx, p.descriptor(1)), nt.NotSupported)
		p.Skip("the storage keeps no descriptors")
	}
	p.ok(err)
	return b
}

func (p *paper) protect(f vfs.File, b []byte) {
	p.Helper()
	p.ok(f.(vfs.Security).SetSecurityDescriptor(p.ctx, b))
}

func (p *paper) protected(f vfs.File, want []byte) {
	p.Helper()
	if got := p.security(f); !bytes.Equal(got, want) {
		p.Fatalf("descriptor %x; want %x", got, want)
	}
}

// keepSecurity: bytes come back as they were, stay through renames, links and overwriting, and go with the object.
func keepSecurity(p *paper) {
	f := p.make("file", "text")
	if got := p.security(f); got != nil {
		p.Fatalf("a new file has %x", got)
	}
	for _, n := range []int{0, 1, 3, 100} {
		p.protect(f, p.descriptor(n))
		p.protected(f, p.descriptor(n))
	}
	p.ok(f.Rename(p.ctx, at("renamed"), false))
	p.protected(f, p.descriptor(100))
	p.ok(f.Overwrite(p.ctx, 0))
	p.protected(f, p.descriptor(100))
	p.protected(p.get("RENAMED"), p.descriptor(100))
	if l, ok := f.(vfs.Linker); ok {
		p.ok(l.Link(p.ctx, at("other"), false))
		p.protected(p.get("other"), p.descriptor(100))
	}
	only, _ := p.open("renamed", vfs.How{Access: dtyp.ReadControl}) // not for its contents
	p.protect(only, p.descriptor(2))
	p.protected(f, p.descriptor(2))

	dir := p.mkdir("dir")
	if got := p.security(dir); got != nil {
		p.Fatalf("a new directory has %x", got)
	}
	p.protect(dir, p.descriptor(4))
	p.protected(dir, p.descriptor(4))
	top, _ := p.open("", vfs.How{Access: dtyp.ReadControl})
	if got := p.security(top); got != nil {
		p.Fatalf("the root has %x", got)
	}
	p.protect(top, p.descriptor(5))
	p.protected(top, p.descriptor(5))
}

// admit: the hook sees the directory's descriptor and is asked only for what is made.
func admit(p *paper) {
	dir := p.mkdir("dir")
	p.security(dir)
	asked := 0
	var saw []byte
	answer, refusal := []byte(nil), error(nil)
	how := vfs.How{Disposition: vfs.OpenIf, Access: writing, Admit: func(inside []byte) ([]byte, error) {
		asked++
		saw = inside
		// The answer may need what is there.
		f, _, err := p.v.Open(p.ctx, at("dir"), vfs.How{Access: dtyp.ReadControl})
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if _, err := f.(vfs.Security).SecurityDescriptor(p.ctx); err != nil {
			return nil, err
		}
		return answer, refusal
	}}
	f, action := p.open(`dir\one`, how)
	if action != vfs.Created || asked != 1 || saw != nil {
		p.Fatalf("action %v, asked %d times, saw %x", action, asked, saw)
	}
	if got := p.security(f); got != nil {
		p.Fatalf("stored %x", got)
	}
	p.protect(dir, p.descriptor(3))
	answer = p.descriptor(1)
	f, _ = p.open(`dir\two`, how)
	if asked != 2 || !bytes.Equal(saw, p.descriptor(3)) {
		p.Fatalf("asked %d times, saw %x", asked, saw)
	}
	p.protected(f, answer)
	if _, action = p.open(`dir\TWO`, how); action != vfs.Opened || asked != 2 {
		p.Fatalf("asked for what is there")
	}
	refusal = nt.AccessDenied
	p.refused(p.try(`dir\three`, how), nt.AccessDenied)
	p.refused(p.try(`dir\three`, vfs.How{Access: writing}), nt.ObjectNameNotFound)
	how.Disposition = vfs.Create
	p.refused(p.try(`dir\two`, how), nt.ObjectNameCollision)
	p.refused(p.try(`dir\none\three`, how), nt.ObjectPathNotFound)
	if asked != 3 {
		p.Fatalf("asked %d times", asked)
	}
}

func admitDirectory(p *paper) {
	p.security(p.mkdir("probe"))
	how := vfs.How{Disposition: vfs.Create, Access: writing, Directory: true, Admit: func([]byte) ([]byte, error) { return p.descriptor(2), nil }}
	f, _ := p.open("dir", how)
	p.protected(f, p.descriptor(2))
	how.Admit = func([]byte) ([]byte, error) { return nil, nt.AccessDenied }
	p.refused(p.try("other", how), nt.AccessDenied)
	if names := p.names(""); len(names) != 2 {
		p.Fatalf("there are %q", names)
	}
}

// birth: who opens what is being made finds its descriptor.
func birth(p *paper) {
	p.security(p.mkdir("probe"))
	want := p.descriptor(1)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, dir := range []bool{false, true} {
		for i := range 100 {
			name := fmt.Sprintf("object %v %d", dir, i)
			wg.Go(func() {
				f, _, err := p.v.Open(p.ctx, at(name), vfs.How{Disposition: vfs.Create, Access: writing, Directory: dir, Admit: func([]byte) ([]byte, error) { return want, nil }})
				if err != nil {
					p.Error(err)
					return
				}
				f.Close()
			})
			for {
				f, _, err := p.v.Open(p.ctx, at(name), vfs.How{Access: dtyp.ReadControl})
				if errors.Is(err, nt.ObjectNameNotFound) {
					continue
				}
				p.ok(err)
				got, err := f.(vfs.Security).SecurityDescriptor(p.ctx)
				f.Close()
				p.ok(err)
				if !bytes.Equal(got, want) {
					p.Fatalf("%s was open to others with %x", name, got)
				}
				break
			}
		}
	}
}

func listSecurity(p *paper) {
	p.security(p.make("none", ""))
	p.protect(p.make("file", ""), p.descriptor(1))
	p.protect(p.mkdir("dir"), p.descriptor(2))
	got := map[string][]byte{}
	p.ok(p.get("").ReadDir(p.ctx, 0, nil, vfs.WantSecurity, func(_ uint64, e vfs.Entry) bool {
		got[e.Name] = e.Security
		return true
	}))
	for name, want := range map[string][]byte{"none": nil, "file": p.descriptor(1), "dir": p.descriptor(2)} {
		if b, ok := got[name]; !ok || !bytes.Equal(b, want) || (b == nil) != (want == nil) {
			p.Errorf("%s has %x; want %x", name, b, want)
		}
	}
}
