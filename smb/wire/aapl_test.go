package wire

import (
	"bytes"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
)

// What a Mac sends, and an answer to it.
const (
	aaplAsk    = "0100000000000000" + "0700000000000000" + "0700000000000000"
	aaplAnswer = "0100000000000000" + "0700000000000000" + "0400000000000000" + "0400000000000000" + "000000000e000000" + "5200610063006b004d0061006300"
)

func TestAAPL(t *testing.T) {
	var ask AAPLRequest
	b := hextext.Bytes(aaplAsk)
	if err := ask.Decode(b); err != nil || ask != (AAPLRequest{AAPLServerQuery, 7, 7}) || !bytes.Equal(ask.Append(nil), b) {
		t.Errorf("%+v, %v", ask, err)
	}
	for n := range b {
		if ask.Decode(b[:n]) == nil {
			t.Errorf("a request of %d bytes", n)
		}
	}
	var answer AAPLResponse
	b = hextext.Bytes(aaplAnswer)
	want := AAPLResponse{Have: 7, ServerCaps: AAPLUnixBased, VolumeCaps: AAPLFullSync, Model: "RackMac"}
	if err := answer.Decode(b); err != nil || answer != want || !bytes.Equal(answer.Append(nil), b) {
		t.Errorf("%+v, %v", answer, err)
	}
	for n := range b {
		if answer.Decode(b[:n]) == nil {
			t.Errorf("an answer of %d bytes", n)
		}
	}
}

func FuzzAAPL(f *testing.F) {
	f.Add(hextext.Bytes(aaplAsk))
	f.Add(hextext.Bytes(aaplAnswer))
	f.Fuzz(func(t *testing.T, b []byte) {
		var ask AAPLRequest
		ask.Decode(b)
		var answer AAPLResponse
		if answer.Decode(b) == nil {
			var again AAPLResponse
			if err := again.Decode(answer.Append(nil)); err != nil || again != answer {
				t.Fatalf("%+v came back as %+v, %v", answer, again, err)
			}
		}
	})
}
