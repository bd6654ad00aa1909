package smbtorture

import (
	"reflect"
	"strings"
	"testing"
)

func TestReadRecord(t *testing.T) {
	got, err := ReadRecord(strings.NewReader("# a comment\n\nsmb2.a b | core | success | failure\nsmb2.c   | exotic | skip | skip\n"))
	want := Record{"smb2.a b": {"core", Success, Failure}, "smb2.c": {"exotic", Skip, Skip}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, line := range []string{
		"smb2.a", "smb2.a | core | success", "smb2.a | great | success | success", "smb2.a | core | good | success",
		"smb2.a | core | success | ", " | core | success | success", "smb2.a | core | skip | skip\nsmb2.a | core | skip | skip",
	} {
		if r, err := ReadRecord(strings.NewReader(line)); err == nil {
			t.Errorf("%q is read as %v", line, r)
		}
	}
}
