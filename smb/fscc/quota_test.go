package fscc

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
)

const twoOwners = `
	14000000 0c000000 0101000000000001 00000000
	00000000 10000000 0102000000000005 20000000 20020000`

func TestQuotaOwners(t *testing.T) {
	want := []dtyp.SID{dtyp.Everyone, dtyp.Administrators}
	b := hextext.Bytes(twoOwners)
	if got := AppendQuotaOwners(nil, want); !bytes.Equal(got, b) {
		t.Errorf("% x", got)
	}
	if got, err := DecodeQuotaOwners(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
	for n := 1; n < len(b); n++ {
		if got, err := DecodeQuotaOwners(b[:n]); !errors.Is(err, nt.QuotaListInconsistent) {
			t.Errorf("cut at %d: %v %v", n, got, err)
		}
	}
}

func TestQuotaSize(t *testing.T) {
	list := []QuotaInfo{{Owner: dtyp.Everyone}, {Owner: dtyp.Administrators}, {Owner: dtyp.Everyone}}
	size := 0
	for i, q := range list {
		size = q.Size(size)
		if b, all := AppendQuotas(nil, size, list[:i+1]); !all || len(b) != size {
			t.Errorf("%d of them take %d bytes, not %d", i+1, len(b), size)
		}
	}
}

func TestQuotaBadSIDs(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want nt.Status
	}{
		{`00000000 00000000 0101000000000001 00000000`, nt.InvalidSID},
		{`00000000 08000000 0101000000000001 00000000`, nt.InvalidSID},            // a SID that is cut
		{`00000000 0c000000 0100000000000001 00000000`, nt.InvalidSID},            // with bytes behind it
		{`00000000 0d000000 0101000000000001 00000000`, nt.QuotaListInconsistent}, // past the end
		{`00000000 ffffffff 0101000000000001 00000000`, nt.QuotaListInconsistent},
	} {
		if _, err := DecodeQuotaOwners(hextext.Bytes(c.hex)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.hex, err)
		}
	}
}

func FuzzQuotaOwners(f *testing.F) {
	f.Add(hextext.Bytes(twoOwners))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := DecodeQuotaOwners(b)
		if err != nil || len(b) > MaxEATotal {
			return
		}
		if again, err := DecodeQuotaOwners(AppendQuotaOwners(nil, list)); err != nil || !reflect.DeepEqual(list, again) {
			t.Errorf("%v became %v, %v", list, again, err)
		}
	})
}
