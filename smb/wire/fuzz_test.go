package wire

import (
	"reflect"
	"testing"
)

// stable wants that what decodes makes bytes that decode to the same.
func stable(t *testing.T, m message, in, head []byte) {
	if m.Decode(in) != nil {
		return
	}
	again := blank(m)
	if err := again.Decode(m.Append(head)); err != nil || !reflect.DeepEqual(again, m) {
		t.Fatalf("%+v\nbecame %+v, %v", m, again, err)
	}
	into, data := parts(m)
	for i, d := range into {
		stable(t, d, data[i], nil)
	}
}

// fuzz runs the decoders of a family of messages on the same bytes.
func fuzz(f *testing.F, family ...message) {
	for _, msg := range vectors(f) {
		f.Add(msg)
	}
	for _, s := range samples() {
		f.Add(encode(s.cmd, s.body))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 1<<15 {
			return // a length of what 16-bit offsets cannot reach does not come out again
		}
		for _, m := range family {
			head := make([]byte, HeaderSize)
			stable(t, blank(m), msg, head)
		}
	})
}

func FuzzNegotiate(f *testing.F) { fuzz(f, &NegotiateRequest{}, &NegotiateResponse{}) }

func FuzzSession(f *testing.F) {
	fuzz(f, &SessionSetupRequest{}, &SessionSetupResponse{}, &LogoffRequest{}, &LogoffResponse{}, &EchoRequest{},
		&EchoResponse{}, &CancelRequest{})
}

func FuzzTree(f *testing.F) {
	fuzz(f, &TreeConnectRequest{}, &TreeConnectResponse{}, &TreeDisconnectRequest{}, &TreeDisconnectResponse{})
}

func FuzzCreate(f *testing.F) {
	fuzz(f, &CreateRequest{}, &CreateResponse{}, &CloseRequest{}, &CloseResponse{})
}

func FuzzReadWrite(f *testing.F) {
	fuzz(f, &ReadRequest{}, &ReadResponse{}, &WriteRequest{}, &WriteResponse{}, &FlushRequest{}, &FlushResponse{})
}

func FuzzLock(f *testing.F) { fuzz(f, &LockRequest{}, &LockResponse{}) }

func FuzzIoctl(f *testing.F) { fuzz(f, &IoctlRequest{}, &IoctlResponse{}) }

func FuzzQuery(f *testing.F) {
	fuzz(f, &QueryDirectoryRequest{}, &QueryDirectoryResponse{}, &ChangeNotifyRequest{}, &ChangeNotifyResponse{},
		&QueryInfoRequest{}, &QueryInfoResponse{}, &SetInfoRequest{}, &SetInfoResponse{})
}

func FuzzBreak(f *testing.F) {
	fuzz(f, &OplockBreak{}, &LeaseBreakNotification{}, &LeaseBreakAck{}, &ServerNotification{})
}

// FuzzStructure takes the structures inside messages, each on all of the bytes.
func FuzzStructure(f *testing.F) {
	for _, s := range structures() {
		f.Add(s.Append(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<15 {
			return
		}
		for _, s := range structures() {
			if h, ok := s.(*CompressionHeader); ok {
				if h.Decode(data) == nil && h.Flags&CompressionFlagChained == 0 { // Offset needs what follows
					var again CompressionHeader
					if err := again.Decode(append(h.Append(nil), data[CompressionHeaderSize:]...)); err != nil || again != *h {
						t.Fatalf("%+v became %+v, %v", h, again, err)
					}
				}
				continue
			}
			stable(t, blank(s), data, nil)
		}
	})
}

// FuzzFrame takes whole frames: compounds, errors, the opener of SMB1, what is before compressed messages.
func FuzzFrame(f *testing.F) {
	for _, msg := range vectors(f) {
		f.Add(msg)
	}
	f.Add(AppendSMB1Negotiate(nil, SMB1Dialect202))
	chain := AppendCompressionChain(nil, 100)
	chain = (&CompressionPayload{CompressionLZ77, CompressionFlagChained, 50, []byte("packed")}).Append(chain)
	f.Add((&CompressionPayload{CompressionPatternV1, 0, 0, (&PatternV1{'x', 50}).Append(nil)}).Append(chain))
	f.Add(AppendNetworkInterfaces(nil, make([]NetworkInterface, 2)))
	f.Add(encode(CmdCreate, &ErrorResponse{2, AppendErrorContexts(nil, ErrorContext{1, []byte("a")}, ErrorContext{2, []byte("b")})}))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if dialects, err := DecodeSMB1Negotiate(frame); err == nil {
			again, err := DecodeSMB1Negotiate(AppendSMB1Negotiate(nil, dialects...))
			if err != nil || !reflect.DeepEqual(again, dialects) {
				t.Fatalf("%q became %q, %v", dialects, again, err)
			}
		}
		if list, err := DecodeNetworkInterfaces(frame); err == nil {
			again, err := DecodeNetworkInterfaces(AppendNetworkInterfaces(nil, list))
			if err != nil || !reflect.DeepEqual(again, list) {
				t.Fatalf("%v became %v, %v", list, again, err)
			}
		}
		if len(frame) > CompressionChainStart {
			var p CompressionPayload
			for rest, err := p.Decode(frame[CompressionChainStart:]); err == nil && len(rest) > 0; rest, err = p.Decode(rest) {
				var again CompressionPayload
				if _, err := again.Decode(p.Append(nil)); err != nil || !reflect.DeepEqual(again, p) {
					t.Fatalf("%+v became %+v, %v", p, again, err)
				}
			}
		}
		for rest := frame; len(rest) > 0; {
			first, next, err := Cut(rest)
			if err != nil {
				break
			}
			if len(first)+len(next) != len(rest) {
				t.Fatalf("%d bytes became %d and %d", len(rest), len(first), len(next))
			}
			var h, again Header
			if h.Decode(first) == nil {
				if err := again.Decode(h.Append(nil)); err != nil || again != h {
					t.Fatalf("%+v became %+v, %v", h, again, err)
				}
			}
			var e ErrorResponse
			if e.Decode(first) == nil {
				stable(t, new(ErrorResponse), first, make([]byte, HeaderSize))
				if list, err := e.Contexts(); err == nil && len(list) != int(e.ContextCount) {
					t.Fatalf("%d contexts of %d", len(list), e.ContextCount)
				}
			}
			if m := bodyOf(first); m != nil {
				_ = m.Decode(first)
			}
			rest = next
		}
	})
}
