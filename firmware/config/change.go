package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Restricted says whether only those listed may use the share; else every user may read and write.
func (s Share) Restricted() bool { return s.restricted }

// Lists returns who may read, and who may read and write, as the file names them.
func (s Share) Lists() (read, write []string) { return slices.Clone(s.read), slices.Clone(s.write) }

// Restrict returns the share with other lists.
func (s Share) Restrict(restricted bool, read, write []string) Share {
	s.restricted, s.read, s.write = restricted, nil, nil
	if restricted {
		s.read, s.write = append([]string{}, read...), append([]string{}, write...)
	}
	return s
}

// Without returns the share with the user named user on no list. Who could use it by being on none still can.
func (s Share) Without(user string) Share {
	gone := func(name string) bool { return strings.EqualFold(name, user) }
	return s.Restrict(s.restricted, slices.DeleteFunc(slices.Clone(s.read), gone), slices.DeleteFunc(slices.Clone(s.write), gone))
}

// SetShare gives the share of the same name another comment, other switches read_only, encrypt and hidden, and other
// lists of users. Everything else in its block stays as it is.
func SetShare(dir string, s Share) error { return edit(dir, setShare(s)) }

func setShare(s Share) func(*file) error {
	return func(f *file) error {
		i := f.find(s.Name)
		if i < 0 {
			return fmt.Errorf("%s has no share %q", f.path, s.Name)
		}
		old := f.want.Shares[i]
		type line struct {
			key, value string
			set, same  bool // is it to be there, is it as it was
		}
		lines := []line{
			{"comment", quote(s.Comment), s.Comment != "", s.Comment == old.Comment},
			{"read_only", strconv.FormatBool(s.ReadOnly), s.ReadOnly, s.ReadOnly == old.ReadOnly},
			{"encrypt", strconv.FormatBool(s.Encrypt), s.Encrypt, s.Encrypt == old.Encrypt},
			{"hidden", strconv.FormatBool(s.Hidden), s.Hidden, s.Hidden == old.Hidden},
			{"read", quoted(s.read), s.read != nil, reflect.DeepEqual(s.read, old.read)},
			{"write", quoted(s.write), s.write != nil, reflect.DeepEqual(s.write, old.write)},
		}
		for _, l := range lines {
			if l.same {
				continue
			}
			number, begin, end, err := f.block(s.Name)
			if err != nil {
				return err
			}
			at := f.spots["share."+strconv.Itoa(number)+"."+l.key].line - 1
			switch {
			case at >= 0 && !l.set && (l.key == "read" || l.key == "write"):
				f.remove(at)
			case at >= 0:
				if err := f.replace(at, l.key, l.value); err != nil {
					return err
				}
			case l.set:
				f.insert(min(begin+1, end), l.key+" = "+l.value)
			}
		}
		want := &f.want.Shares[i]
		want.Comment, want.ReadOnly, want.Encrypt, want.Hidden = s.Comment, s.ReadOnly, s.Encrypt, s.Hidden
		want.restricted, want.read, want.write = s.restricted, s.read, s.write
		return nil
	}
}

// A Setting is one value outside of the shares, by its table ("" for the top of the file) and key.
type Setting struct {
	Table, Key string
	Value      any // string, bool, int or []string
}

// Set changes settings: those of the file's tables, each on one line of its own. The configuration that it then says is
// returned; nothing is changed if it would be wrong.
func Set(dir string, settings ...Setting) (now *Config, err error) {
	err = edit(dir, set(dir, &now, settings...))
	return now, err
}

func set(dir string, now **Config, settings ...Setting) func(*file) error {
	return func(f *file) error {
		for _, s := range settings {
			if strings.HasPrefix(s.Table, "share") || s.Key == "version" {
				return fmt.Errorf("%s.%s is not changed this way", s.Table, s.Key)
			}
			value, err := literal(s.Value)
			if err != nil {
				return err
			}
			at := f.spots[strings.TrimPrefix(s.Table+"."+s.Key, ".")].line - 1
			if at >= 0 {
				if err := f.replace(at, s.Key, value); err != nil {
					return err
				}
				continue
			}
			switch head := f.spots[s.Table]; {
			case s.Table == "":
				f.insert(f.top(), s.Key+" = "+value)
			case head.table, isBlock.MatchString(s.Table):
				f.insert(head.line, s.Key+" = "+value)
			default:
				f.lines = append(f.lines, "", "["+s.Table+"]", s.Key+" = "+value)
				f.reindex()
			}
		}
		c, err := Parse(f.path, []byte(strings.Join(f.lines, "\n")+"\n"), dir)
		if err != nil {
			return err
		}
		*now, f.want = c, c
		return nil
	}
}

func literal(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return quote(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case []string:
		return quoted(v), nil
	}
	return "", fmt.Errorf("a %T is no value in a configuration", v)
}

// quote writes a text as a TOML basic string, in one line. What is not UTF-8 stays so, and revise refuses it.
func quote(text string) string {
	var b strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r), r == utf8.RuneError && size == 1:
			b.WriteString(text[i : i+size])
		case r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return `"` + b.String() + `"`
}

func quoted(texts []string) string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = quote(text)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// valueOf matches a key and a value that stand on one line with nothing but a comment behind them.
var valueOf = regexp.MustCompile(`^(\s*[a-z_]+\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*'|true|false|[0-9_]+|\[(?:[^\[\]#"']|"(?:[^"\\]|\\.)*"|'[^']*')*\])(\s*(?:#.*)?)$`)

// replace puts another value into a line. A list over several lines becomes one of one line.
func (f *file) replace(at int, key, value string) error {
	m := valueOf.FindStringSubmatch(f.lines[at])
	if begin, _, ok := strings.Cut(f.lines[at], "["); m == nil && ok && strings.HasPrefix(value, "[") {
		end := f.listEnd(at, begin)
		f.lines[at] = begin + value
		f.cut(at+1, end)
		return nil
	}
	if m == nil {
		return &Error{f.path, at + 1, key, "is written in a form that Postern does not change; put it on one line"}
	}
	f.lines[at] = m[1] + value + m[3]
	return nil
}

// insert puts a line before that with the number at, from 0.
func (f *file) insert(at int, line string) {
	f.lines = slices.Insert(f.lines, at, line)
	f.reindex()
}

// remove takes a list out that begins in a line.
func (f *file) remove(at int) {
	begin, _, _ := strings.Cut(f.lines[at], "[")
	f.cut(at, f.listEnd(at, begin))
}

func (f *file) cut(from, to int) {
	f.lines = slices.Delete(f.lines, from, to)
	f.reindex()
}

// inList matches what may stand in a list without ending it.
var inList = regexp.MustCompile(`^(?:[^\]"'#]|"(?:[^"\\]|\\.)*"|'[^']*'|#[^\n]*)*\]`)

// listEnd returns the line after the one in which a list of texts ends that begins in a line behind begin.
func (f *file) listEnd(at int, begin string) int {
	rest := strings.Join(f.lines[at:], "\n")[len(begin):]
	return at + 1 + strings.Count(inList.FindString(rest), "\n")
}

// reindex finds the places again after lines have moved.
func (f *file) reindex() { f.spots = index([]byte(strings.Join(f.lines, "\n") + "\n")) }

// top is where a key of no table may stand: before the first table.
func (f *file) top() int {
	first := len(f.lines)
	for at, s := range f.spots {
		if s.table || isBlock.MatchString(at) {
			first = min(first, s.line-1)
		}
	}
	return first
}

// CheckShareName says what is wrong with a name for a share.
func CheckShareName(name string) error {
	if text := shareName(name); text != "" {
		return errors.New("the name of a share: " + text)
	}
	return nil
}
