package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// typed is what somebody types before the tab, and all that is offered for the last word.
var typed = []struct {
	line    string
	offered []string
}{
	{"postern access g", []string{"grant"}},
	{"postern un", []string{"unpair"}},
	{"postern audit -json -fo", []string{"-follow"}},
	{"postern help sess", []string{"session"}},
	{"postern -json user ow", []string{"own"}},
	{"postern completion pow", []string{"powershell"}},
	{"postern device ", []string{"demote", "list", "promote"}},
	{"postern key re", []string{"recover", "reseal", "reset"}},
}

// shell finds a shell, and writes the completion for it into the folder that is returned.
func shell(t *testing.T, name string) (dir string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("skipped: no ", name)
	}
	var b bytes.Buffer
	if err := completion(&b, name); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	write(t, filepath.Join(dir, "completion"), b.Bytes())
	return dir
}

// asked runs a script in a shell, in dir, and returns what it wrote.
func asked(t *testing.T, dir, script string, shell ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:], script)...)
	cmd.Dir, cmd.Stderr = dir, &errs
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "LC_ALL=C.UTF-8", "TERM=dumb")
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Errorf("%v\n%s%s", err, out, errs.String())
	}
	return string(out)
}

func mustOffer(t *testing.T, line string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("%q: offered %q, want %q", line, got, want)
	}
}

func TestCompletionInBash(t *testing.T) {
	dir := shell(t, "bash")
	for _, c := range typed {
		words := strings.Split(c.line, " ")
		script := "source ./completion; COMP_WORDS=('" + strings.Join(words, "' '") + "'); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _postern; echo \"${COMPREPLY[@]}\""
		mustOffer(t, c.line, strings.Fields(asked(t, dir, script, "bash", "--norc", "-c")), c.offered)
	}
}

func TestCompletionInFish(t *testing.T) {
	dir := shell(t, "fish")
	for _, c := range typed {
		got := strings.Fields(asked(t, dir, "source ./completion; complete -C '"+c.line+"'", "fish", "--no-config", "-c"))
		mustOffer(t, c.line, got, c.offered)
	}
}

// drive types lines at a zsh with a terminal, and writes down what stands there after a tab: its completion works nowhere
// else.
const drive = `
zmodload zsh/zpty
zpty shell "zsh -f -i"
zpty -w shell 'autoload -U compinit; compinit -u -D; source ./completion
typed() { zle complete-word; print -r -- "$BUFFER" >> ./offered; BUFFER= }
zle -N typed; bindkey "^I" typed; print -r -- ready > ./offered'
lines=1
offered() { for i in {1..1000}; do [[ -r ./offered && $(wc -l < ./offered) -ge $lines ]] && return; sleep 0.02; done; print -u2 "nothing is offered"; exit 1 }
offered
while IFS= read -r line; do
	zpty -w -n shell "$line"$'\t'
	(( lines++ )); offered
done < ./typed
zpty -d shell
cat ./offered
`

func TestCompletionInZsh(t *testing.T) {
	dir := shell(t, "zsh")
	var lines, want []string
	for _, c := range typed {
		if len(c.offered) > 1 { // the line stays as it is
			continue
		}
		lines = append(lines, c.line)
		want = append(want, c.line[:strings.LastIndexByte(c.line, ' ')+1]+c.offered[0])
	}
	write(t, filepath.Join(dir, "typed"), []byte(strings.Join(lines, "\n")+"\n"))
	var got []string
	for line := range strings.Lines(asked(t, dir, drive, "zsh", "-f", "-c")) {
		got = append(got, strings.TrimSpace(line))
	}
	if want = append([]string{"ready"}, want...); !slices.Equal(got, want) {
		t.Errorf("zsh completes to %q, want %q", got, want)
	}
}
