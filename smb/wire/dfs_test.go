package wire

import (
	"bytes"
	"reflect"
	"testing"
)

// The layouts of [MS-DFSC] 2.2.2 to 2.2.5, written out by its tables.
func TestReferralLayouts(t *testing.T) {
	req := ReferralRequest{MaxLevel: 4, Path: `\a\b`}
	if want := fromHex(t, "0400 5c00 6100 5c00 6200 0000"); !bytes.Equal(req.Append(nil), want) {
		t.Errorf("%x, want %x", req.Append(nil), want)
	}
	req.Site = "s"
	if want := fromHex(t, "0400 0100 12000000 0a00 5c00 6100 5c00 6200 0000 0400 7300 0000"); !bytes.Equal(req.AppendEx(nil), want) {
		t.Errorf("%x, want %x", req.AppendEx(nil), want)
	}
	resp := ReferralResponse{PathConsumed: 8, Flags: StorageServers, Root: false, TTL: 300, Path: `\a`, Targets: []string{`\x`, `\y`}}
	for version, want := range map[uint16]string{
		1: `0800 0200 02000000
			0100 0e00 0000 0000 5c00 7800 0000
			0100 0e00 0000 0000 5c00 7900 0000`,
		2: `0800 0200 02000000
			0200 1600 0000 0000 00000000 2c010000 2c00 2c00 3200
			0200 1600 0000 0000 00000000 2c010000 1600 1600 2200
			5c00 6100 0000 5c00 7800 0000 5c00 7900 0000`,
		3: `0800 0200 02000000
			0300 2200 0000 0000 2c010000 4400 4400 4a00 00000000000000000000000000000000
			0300 2200 0000 0000 2c010000 2200 2200 2e00 00000000000000000000000000000000
			5c00 6100 0000 5c00 7800 0000 5c00 7900 0000`,
		4: `0800 0200 02000000
			0400 2200 0000 0400 2c010000 4400 4400 4a00 00000000000000000000000000000000
			0400 2200 0000 0000 2c010000 2200 2200 2e00 00000000000000000000000000000000
			5c00 6100 0000 5c00 7800 0000 5c00 7900 0000`,
	} {
		resp.Version = version
		b := resp.Append(nil)
		if !bytes.Equal(b, fromHex(t, want)) {
			t.Errorf("version %d: %x, want %s", version, b, want)
		}
		back := ReferralResponse{}
		wanted := resp
		if version == 1 {
			wanted.TTL, wanted.Path = 0, ""
		}
		if err := back.Decode(b); err != nil || !reflect.DeepEqual(back, wanted) {
			t.Errorf("version %d: %+v, %v", version, back, err)
		}
		for n := range b {
			if err := new(ReferralResponse).Decode(b[:n]); err == nil {
				t.Errorf("version %d cut at %d: taken", version, n)
			}
		}
	}
}

func TestReferralRequests(t *testing.T) {
	for _, req := range []ReferralRequest{{4, "", ""}, {1, `\server\share`, ""}, {4, `\server\share\ünï`, "site"}} {
		var back ReferralRequest
		if err := back.DecodeEx(req.AppendEx(nil)); err != nil || back != req {
			t.Errorf("%+v, %v, want %+v", back, err, req)
		}
		ex := req.AppendEx(nil)
		for n := range ex {
			if err := back.DecodeEx(ex[:n]); err == nil {
				t.Errorf("%+v cut at %d: taken", req, n)
			}
		}
		req.Site = ""
		if err := back.Decode(req.Append(nil)); err != nil || back != req {
			t.Errorf("%+v, %v, want %+v", back, err, req)
		}
	}
	var r ReferralRequest
	for _, bad := range []string{"", "04", "0400", "0400 00", "0400 5c0061", "0400 00d8"} {
		mustRefuse(t, r.Decode(fromHex(t, bad)), "REQ_GET_DFS_REFERRAL")
	}
	if err := r.Decode(fromHex(t, "0400 6100 0000 6200")); err != nil || r.Path != "a" {
		t.Errorf("%q, %v: what stands behind the end", r.Path, err)
	}
	for _, bad := range []string{"0400 0000 ff000000 0200 6100", "0400 0000 04000000 ffff 6100", "0400 0100 04000000 0200 6100", "0400 0100 06000000 0200 6100 ff00"} {
		mustRefuse(t, r.DecodeEx(fromHex(t, bad)), "REQ_GET_DFS_REFERRAL_EX")
	}
}

func FuzzReferral(f *testing.F) {
	req := ReferralRequest{MaxLevel: 4, Path: `\server\share\link`, Site: "site"}
	f.Add(req.Append(nil))
	f.Add(req.AppendEx(nil))
	for version := range uint16(4) {
		f.Add((&ReferralResponse{Version: version + 1, Path: `\s\d`, Targets: []string{`\a\b`, `\c\d\e`}}).Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r ReferralRequest
		if r.Decode(b) == nil {
			var again ReferralRequest
			if err := again.Decode(r.Append(nil)); err != nil || again != r {
				t.Errorf("%+v, %v, want %+v", again, err, r)
			}
		}
		if r.DecodeEx(b) == nil && len(r.Path)+len(r.Site) < 5000 {
			var again ReferralRequest
			if err := again.DecodeEx(r.AppendEx(nil)); err != nil || again != r {
				t.Errorf("%+v, %v, want %+v", again, err, r)
			}
		}
		var resp ReferralResponse
		_ = resp.Decode(b)
	})
}
