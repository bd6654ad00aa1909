package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The layouts of [MS-SMB2] 2.2.42.1 and 2.2.42.2, which has no examples: written out by its tables.
func TestCompressionLayouts(t *testing.T) {
	unchained := fromHex(t, "fc534d42 78563412 0300 0000 50000000")
	var h CompressionHeader
	if err := h.Decode(append(bytes.Clone(unchained), make([]byte, 0x50)...)); err != nil {
		t.Fatal(err)
	}
	if want := (CompressionHeader{OriginalSize: 0x12345678, Algorithm: CompressionLZ77Huffman, Offset: 0x50}); h != want {
		t.Errorf("%+v, want %+v", h, want)
	}
	if got := h.Append(nil); !bytes.Equal(got, unchained) {
		t.Errorf("%x, want %x", got, unchained)
	}
	if n := CompressedSize(unchained); n != 0x12345678 {
		t.Errorf("CompressedSize %#x", n)
	}
	if CompressedSize(unchained[:7]) != 0 {
		t.Error("a size in 7 bytes")
	}

	chained := fromHex(t, `fc534d42 67000000
		0000 0100 03000000 616263
		0200 0000 06000000 40000000 7879
		0400 0000 08000000 2a 00 0000 24000000`)
	parts := []CompressionPayload{
		{Algorithm: CompressionNone, Flags: CompressionFlagChained, Data: []byte("abc")},
		{Algorithm: CompressionLZ77, OriginalSize: 0x40, Data: []byte("xy")},
		{Algorithm: CompressionPatternV1, Data: (&PatternV1{Pattern: '*', Repetitions: 0x24}).Append(nil)},
	}
	b := AppendCompressionChain(nil, 0x67)
	for _, p := range parts {
		b = p.Append(b)
	}
	if !bytes.Equal(b, chained) {
		t.Errorf("%x, want %x", b, chained)
	}
	if err := h.Decode(chained); err != nil || h.Flags&CompressionFlagChained == 0 || h.OriginalSize != 0x67 {
		t.Errorf("%+v, %v", h, err)
	}
	rest := chained[CompressionChainStart:]
	for _, want := range parts {
		var p CompressionPayload
		var err error
		if rest, err = p.Decode(rest); err != nil || !reflect.DeepEqual(p, want) {
			t.Errorf("%+v, %v, want %+v", p, err, want)
		}
	}
	if len(rest) > 0 {
		t.Errorf("%x is left", rest)
	}

	// The length of data that came later than its header.
	lz := (&CompressionPayload{Algorithm: CompressionLZ4, OriginalSize: 9}).Append(nil)
	PutCompressionLength(lz, 5)
	var p CompressionPayload
	if rest, err := p.Decode(append(lz, "12345678"...)); err != nil || string(p.Data) != "12345" || string(rest) != "678" {
		t.Errorf("%+v, %v, then %q", p, err, rest)
	}
}
