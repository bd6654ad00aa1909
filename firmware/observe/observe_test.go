package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// hostile are values a client may choose: user names, workstation names, paths.
var hostile = map[string]string{
	"newline":   "eve\ntime=2026-01-01 level=INFO msg=\"logon\" user=admin",
	"return":    "eve\rroot",
	"escape":    "\x1b[2J\x1b[31mred",
	"c1":        "\u009b31mred",
	"delete":    "a\x7f\x7f",
	"nul":       "a\x00b",
	"direction": "photo\u202egpj.exe\u2066\u200f",
	"invisible": "ad\u200bmin\u2028x\ufeff",
	"broken":    "\xff\xfe\xc3",
	"quotes":    `a" user="admin`,
	"long":      strings.Repeat("ü", 32<<10),
}

type stranger string

func (s stranger) String() string { return string(s) }

// TestSEC59LogInjection: whatever a stranger calls himself, a record is one printable line of bounded length.
func TestSEC59LogInjection(t *testing.T) {
	for _, format := range []Format{Text, JSON} {
		for name, value := range hostile {
			t.Run(string(format)+"/"+name, func(t *testing.T) {
				var out bytes.Buffer
				log := slog.New(Handler(&out, slog.LevelDebug, format)).With("with", value)
				log.WithGroup("g").Info("hello "+value, "string", value, "error", errors.New(value), "stringer", stranger(value), "bytes", []byte(value),
					slog.Group("inner", "string", value), "struct", struct{ Name string }{value})
				line := out.String()
				if n := strings.Count(line, "\n"); n != 1 || !strings.HasSuffix(line, "\n") {
					t.Errorf("%d line ends in %q", n, line)
				}
				if len(line) > 12*(maxValue+64)*3 { // JSON may write a byte as \u00xx
					t.Errorf("line of %d bytes", len(line))
				}
				for _, r := range strings.TrimSuffix(line, "\n") {
					if !unicode.IsPrint(r) {
						t.Errorf("%U in %q", r, line)
					}
				}
				if !utf8.ValidString(line) {
					t.Errorf("not UTF-8: %q", line)
				}
				if format == Text && strings.Contains(line, ` user=admin`) && !strings.Contains(line, `\n`) {
					t.Errorf("a value became a field: %s", line)
				}
				if format == JSON {
					var m map[string]any
					if err := json.Unmarshal(out.Bytes(), &m); err != nil {
						t.Fatal(err)
					}
					for _, r := range m["g"].(map[string]any)["string"].(string) {
						if !unicode.IsPrint(r) {
							t.Errorf("%U comes out of the decoded value", r)
						}
					}
				}
			})
		}
	}
}

func TestPlainTextStaysReadable(t *testing.T) {
	var out bytes.Buffer
	slog.New(Handler(&out, slog.LevelInfo, Text)).Info("logon", "user", "Jürgen", "share", `\\postern\disk`, "n", 3)
	if want := `level=INFO msg=logon user=Jürgen share=\\postern\disk n=3` + "\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("%s", out.String())
	}
	out.Reset()
	slog.New(Handler(&out, slog.LevelInfo, JSON)).Info("logon", "user", "Jürgen", "share", `\\postern\disk`, "n", 3)
	if want := `"level":"INFO","msg":"logon","user":"Jürgen","share":"\\\\postern\\disk","n":3}` + "\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("%s", out.String())
	}
}

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log := slog.New(Handler(&out, &level, Text))
	log.Debug("no")
	level.Set(slog.LevelDebug)
	log.Debug("yes")
	if strings.Contains(out.String(), "no") || !strings.Contains(out.String(), "yes") {
		t.Errorf("%q", out.String())
	}
}

func TestRing(t *testing.T) {
	r := NewRing(3)
	if got := r.Lines(); len(got) != 0 {
		t.Errorf("empty ring: %q", got)
	}
	for i := range 5 {
		fmt.Fprintf(r, "line %d\n", i)
		var want []string
		for j := max(0, i-2); j <= i; j++ {
			want = append(want, fmt.Sprintf("line %d", j))
		}
		if got := r.Lines(); !slices.Equal(got, want) {
			t.Errorf("after %d: %q, want %q", i, got, want)
		}
	}
}
