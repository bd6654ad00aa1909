package account

import (
	"errors"
	"log/slog"
	"testing"
)

func TestOwner(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for _, name := range []string{"olga", "bob"} {
		if _, err := s.Add(name, "a long password of "+name); err != nil {
			t.Fatal(err)
		}
	}
	if s.Owned() {
		t.Error("a store without an owner is owned")
	}
	if err := s.SetOwner("olga", true); err != nil {
		t.Fatal(err)
	}
	s = open()
	if !s.Owned() {
		t.Error("the owner is forgotten")
	}
	for _, c := range []struct {
		name, password string
		want           bool
	}{
		{"olga", "a long password of olga", true},
		{"OLGA", "a long password of olga", true},
		{"olga", "a long password of bob", false},
		{"olga", "", false},
		{"bob", "a long password of bob", false},
		{"nobody", "", false},
		{"", "", false},
	} {
		if u, ok := s.OwnerPassword(c.name, c.password); ok != c.want || ok && u.Name != "olga" {
			t.Errorf("OwnerPassword(%q, %q) = %v, %t; want %t", c.name, c.password, u, ok, c.want)
		}
	}
	if err := s.MayLose("Olga"); !errors.Is(err, ErrLastOwner) {
		t.Errorf("losing the only owner: %v", err)
	}
	if err := s.MayLose("bob"); err != nil {
		t.Error(err)
	}
	if err := s.SetOwner("bob", true); err != nil {
		t.Fatal(err)
	}
	if err := s.MayLose("olga"); err != nil {
		t.Error(err)
	}
	if err := s.SetDisabled("bob", true); err != nil {
		t.Fatal(err)
	}
	if err := s.MayLose("olga"); err == nil {
		t.Error("an owner who is disabled counts")
	}
	if _, ok := s.OwnerPassword("bob", "a long password of bob"); ok {
		t.Error("an owner who is disabled signs in")
	}
}
