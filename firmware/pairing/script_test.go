package pairing

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testAuthority is an authority's certificate that is always the same.
func testAuthority(t testing.TB) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testScript(t testing.TB) Script {
	return Script{
		Server: "postern.local", Port: 443, Page: "https://postern.local", Share: "disk", User: "alice",
		CA: testAuthority(t), Secret: "AAAAAAAAAAAAAAAAAAAAAA",
	}
}

func scripts(t *testing.T, s Script) map[string]string {
	t.Helper()
	pair, err := s.Pair()
	if err != nil {
		t.Fatal(err)
	}
	unpair, err := s.Unpair()
	if err != nil {
		t.Fatal(err)
	}
	renew, err := s.Renew()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"pair": string(pair), "unpair": string(unpair), "renew": string(renew)}
}

func TestScripts(t *testing.T) {
	other := testScript(t)
	other.Server, other.Port, other.Page, other.Share, other.User = "nas.example.org", 8443, "", "Grüße aus 你好", ""
	other.Home, other.AtHome, other.Page = "attic.local", 443, "https://attic.local:8444"
	for suffix, s := range map[string]Script{"": testScript(t), "-other": other} {
		for name, got := range scripts(t, s) {
			file := filepath.Join("testdata", "postern-"+name+suffix+".cmd")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is another; -update writes it anew, look at the difference:\n%s", file, got)
			}
			if strings.Contains(strings.ReplaceAll(got, "\r\n", ""), "\n") || strings.Contains(got, "\ufeff") {
				t.Errorf("%s has lines that cmd.exe does not end", file)
			}
		}
	}
	for name, bad := range map[string]func(*Script){
		"no secret": func(s *Script) { s.Secret = "" }, "no port": func(s *Script) { s.Port = 0 }, "no share": func(s *Script) { s.Share = "" },
		"no server": func(s *Script) { s.Server = "" }, "no authority": func(s *Script) { s.CA = nil }, "no page": func(s *Script) { s.Page = "" },
	} {
		s := testScript(t)
		if bad(&s); func() bool { _, err := s.Pair(); return err == nil }() {
			t.Error(name)
		}
	}
}

// A token of PowerShell, as far as this needs it.
type token struct {
	kind string // "word", "parameter", "string", "variable", "open", "close", "other"
	text string
}

// tokenize takes a script apart as [about_Parsing] and [about_Quoting_Rules] have it, for the part of the language that our
// scripts keep to. What does not fit is an error: a string or here-string that does not end, a bracket without its mate.
func tokenize(t *testing.T, script string) (tokens []token) {
	t.Helper()
	var open []byte
	s := strings.ReplaceAll(script, "\r\n", "\n")
	bad := func(what string) {
		t.Helper()
		t.Fatalf("%s at %.60q", what, s)
	}
	word := regexp.MustCompile(`^[A-Za-z_][\w.-]*`)
	parameter := regexp.MustCompile(`^-[A-Za-z]\w*`)
	variable := regexp.MustCompile(`^[$@](\{[\w]+\}|[A-Za-z_][\w]*(:[A-Za-z_]\w*)?|[_?])`)
	isQuote := func(r string) bool {
		return strings.HasPrefix(r, "'") || strings.HasPrefix(r, "\u2018") || strings.HasPrefix(r, "\u2019") || strings.HasPrefix(r, "\u201a") ||
			strings.HasPrefix(r, "\u201b")
	}
	runeLen := func(r string) int { return len(string([]rune(r)[:1])) }
	for s != "" {
		switch {
		case s[0] == ' ' || s[0] == '\t' || s[0] == '\n' || s[0] == ';':
			s = s[1:]
		case s[0] == '#':
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "@\"\n"):
			_, rest, ok := strings.Cut(s, "\n\"@")
			if !ok {
				bad("a here-string that does not end")
			}
			tokens, s = append(tokens, token{"string", "here"}), rest
		case isQuote(s):
			s = s[runeLen(s):]
			var b strings.Builder
			for {
				if s == "" {
					bad("a string that does not end")
				}
				n := runeLen(s)
				if isQuote(s) {
					if !isQuote(s[n:]) {
						s = s[n:]
						break
					}
					s = s[n:]
					n = runeLen(s)
				}
				b.WriteString(s[:n])
				s = s[n:]
			}
			tokens = append(tokens, token{"string", b.String()})
		case s[0] == '"' || strings.HasPrefix(s, "\u201c") || strings.HasPrefix(s, "\u201d") || strings.HasPrefix(s, "\u201e"):
			if s[0] != '"' {
				bad("a quote that our scripts do not use")
			}
			i, depth := 1, 0
			for ; i < len(s); i++ {
				if s[i] == '(' && s[i-1] == '$' || depth > 0 && s[i] == '(' {
					depth++
				} else if depth > 0 && s[i] == ')' {
					depth--
				} else if s[i] == '"' && depth == 0 {
					break
				} else if s[i] == '\n' || s[i] == '`' {
					bad("a string over lines, or with an escape")
				}
			}
			if i == len(s) {
				bad("a string that does not end")
			}
			tokens, s = append(tokens, token{"string", s[1:i]}), s[i+1:]
		case strings.ContainsRune("({[", rune(s[0])):
			open = append(open, s[0])
			tokens, s = append(tokens, token{"open", s[:1]}), s[1:]
		case strings.ContainsRune(")}]", rune(s[0])):
			if len(open) == 0 || open[len(open)-1] != map[byte]byte{')': '(', '}': '{', ']': '['}[s[0]] {
				bad("a bracket too many")
			}
			open = open[:len(open)-1]
			tokens, s = append(tokens, token{"close", s[:1]}), s[1:]
		case variable.MatchString(s):
			v := variable.FindString(s)
			tokens, s = append(tokens, token{"variable", v}), s[len(v):]
		case parameter.MatchString(s):
			p := parameter.FindString(s)
			tokens, s = append(tokens, token{"parameter", p}), s[len(p):]
		case word.MatchString(s):
			w := word.FindString(s)
			tokens, s = append(tokens, token{"word", w}), s[len(w):]
		default:
			n := runeLen(s)
			if n > 1 {
				bad("a letter outside of a string")
			}
			tokens, s = append(tokens, token{"other", s[:n]}), s[n:]
		}
	}
	if len(open) > 0 {
		bad("a bracket that is not closed: " + string(open))
	}
	return tokens
}

// powershell is the part of a script behind its line of cmd.exe.
func powershell(t *testing.T, script string) string {
	t.Helper()
	parts := regexp.MustCompile(`\r?\n#POSTERN\r?\n`).Split(script, -1)
	if len(parts) != 2 {
		t.Fatalf("the script has %d parts", len(parts))
	}
	return parts[1]
}

// What the scripts call, with its parameters: cmdlets of Microsoft's documentation, and three programs of Windows. A change
// of this list is a change of what runs as administrator on people's PCs.
var allowed = map[string][]string{
	"Import-Certificate":                 {"-FilePath", "-CertStoreLocation"},
	"Invoke-WebRequest":                  {"-Method", "-Headers", "-InFile", "-OutFile", "-Certificate", "-UseBasicParsing"},
	"New-SmbClientCertificateMapping":    {"-Namespace", "-Thumbprint", "-StoreName", "-Force"},
	"Remove-SmbClientCertificateMapping": {"-Namespace", "-Force", "-ErrorAction"},
	"New-SmbMapping":                     {}, // by the table below
	"Join-Path":                          {},
	"Set-Content":                        {},
	"Out-Null":                           {},
	"certreq":                            {"-new", "-accept", "-machine", "-q"},
	"net":                                {},
	"cmdkey":                             {},
}

// splatted are New-SmbMapping's.
var splatted = []string{"LocalPath", "RemotePath", "TransportType", "UserName", "Password", "Persistent", "SaveCredentials", "QuicPort"}

var operators = []string{"-eq", "-ne", "-lt", "-gt", "-and", "-or", "-not", "-contains", "-notcontains", "-split"}

var keywords = []string{
	"param", "function", "return", "try", "catch", "finally", "throw", "if", "foreach", "in", "break", "continue", "exit", "else",
}

func TestScriptsUseOnlyWhatIsDocumented(t *testing.T) {
	for name, script := range scripts(t, testScript(t)) {
		tokens := tokenize(t, powershell(t, script))
		ours := map[string]bool{}
		for i, k := range tokens {
			if k.text == "function" {
				ours[tokens[i+1].text] = true
			}
		}
		command := ""
		for i, k := range tokens {
			previous := token{}
			if i > 0 {
				previous = tokens[i-1]
			}
			switch k.kind {
			case "word":
				// A name behind a dot, a double colon or in square brackets is .NET's, one behind a backslash part of a path.
				dotnet := previous.text == "." || previous.text == ":" || previous.text == "[" || previous.text == `\`
				switch {
				case dotnet, slices.Contains(keywords, k.text), slices.Contains(splatted, k.text), k.text == "Cert", k.text == "Name":
				case ours[k.text]:
					command = k.text
				case strings.Contains(k.text, "-") || k.text == "certreq" || k.text == "net" || k.text == "cmdkey":
					if allowed[k.text] == nil {
						t.Errorf("%s: %s is not on the list", name, k.text)
					}
					command = k.text
				case k.text == "use" && command == "net", k.text == "delete" && command == "net", k.text == "My" && command != "",
					k.text == "SilentlyContinue", k.text == "LocalMachine", k.text == "Post":
				default:
					t.Errorf("%s: %q is neither a word of the language nor a command that is known", name, k.text)
				}
			case "parameter":
				if !slices.Contains(operators, k.text) && !slices.Contains(allowed[command], k.text) {
					t.Errorf("%s: %s of %s is not on the list", name, k.text, command)
				}
			}
		}
	}
	// And the line of cmd.exe is always the same.
	a, b := testScript(t), testScript(t)
	b.Server, b.Share, b.User, b.Page = `x" & calc & "`, `%PATH%`, `^|<>`, "https://x"
	line := func(s Script) string {
		head, _, _ := strings.Cut(scripts(t, s)["pair"], "\r\n#POSTERN\r\n")
		return regexp.MustCompile(`(?m)^rem .*$`).ReplaceAllString(head, "")
	}
	if line(a) != line(b) {
		t.Errorf("%s\nand\n%s", line(a), line(b))
	}
}

// Where there is a PowerShell it reads the scripts itself. None of the registries that the tests install from has one, so its
// absence is no failure in CI either; the tokenizer above is what always looks.
func TestScriptsParse(t *testing.T) {
	shell, err := exec.LookPath("pwsh")
	if err != nil {
		t.Skip("no pwsh here, and none to be installed: ", err)
	}
	for name, script := range scripts(t, testScript(t)) {
		file := filepath.Join(t.TempDir(), name+".ps1")
		if err := os.WriteFile(file, []byte(powershell(t, script)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(shell, "-NoLogo", "-NoProfile", "-NonInteractive", "-Command",
			"$errors = $null; $null = [Management.Automation.Language.Parser]::ParseFile($env:POSTERN_SCRIPT, [ref]$null, [ref]$errors); $errors; exit $errors.Count")
		cmd.Env = append(os.Environ(), "POSTERN_SCRIPT="+file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Whatever box, share and user are called, it stays text.
func TestScriptsEscapeHostileNames(t *testing.T) {
	for _, hostile := range []string{
		`'; calc; '`, `$(calc)`, "`$(calc)", `"; calc; "`, `' + $(calc) + '`, "\u2019; calc; \u2019", "\u2018\u201a\u201b'", `''''`, `@'`, `'@`, `"@`,
		`%PATH%`, `& calc &`, `|calc`, `#POSTERN`, `{{.Secret}}`, `ünï`, `$env:x`, `\`, `'`, `"`, "\u201c\u201d\u201e", `]]>`, `exit`,
	} {
		s := testScript(t)
		s.Server, s.Home, s.Share, s.User, s.Page = hostile, hostile, hostile, hostile, hostile
		for name, script := range scripts(t, s) {
			tokens := tokenize(t, powershell(t, script))
			if plain := tokenize(t, powershell(t, scripts(t, testScript(t))[name])); len(tokens) != len(plain) {
				t.Errorf("%s: %q makes %d tokens of %d", name, hostile, len(tokens), len(plain))
			}
			if !slices.Contains(tokens, token{"string", hostile}) { // the server's name, at least
				t.Errorf("%s: %q is not in it as it is", name, hostile)
			}
		}
	}
	for _, impossible := range []string{"a\nb", "a\rb", "\r\n#POSTERN\r\n", "\x00", "\xff", "\u202e", "\u2028", "\u0085", "\t"} {
		for _, set := range []func(*Script){
			func(s *Script) { s.Share = impossible }, func(s *Script) { s.User = impossible }, func(s *Script) { s.Server = impossible },
		} {
			s := testScript(t)
			set(&s)
			if b, err := s.Pair(); err == nil {
				t.Errorf("%q is let into a script: %d bytes", impossible, len(b))
			}
		}
	}
}

// Each value in the templates is quoted, but for two numbers.
func TestTemplatesQuote(t *testing.T) {
	files, err := filepath.Glob("windows/*")
	if err != nil || len(files) != 7 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range regexp.MustCompile(`\{\{.*?\}\}`).FindAll(data, -1) {
			if !bytes.HasPrefix(action, []byte("{{ps .")) && !bytes.HasPrefix(action, []byte("{{rem .")) && string(action) != "{{.Port}}" && string(action) != "{{.AtHome}}" {
				t.Errorf("%s: %s", file, action)
			}
		}
	}
}

func FuzzQuotePowerShell(f *testing.F) {
	f.Add("it's \u2019")
	f.Fuzz(func(t *testing.T, s string) {
		q, err := quotePowerShell(s)
		if err != nil {
			return
		}
		if tokens := tokenize(t, q); len(tokens) != 1 || tokens[0].kind != "string" || tokens[0].text != s {
			t.Fatalf("%q is written %s, which reads %v", s, q, tokens)
		}
	})
}
