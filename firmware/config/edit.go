package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/smb/fscc"
)

// AddShare writes one more share at the end of FileName in dir. Like SetShareComment and RemoveShare it changes the
// file as text, so that everything else in it stays, reads what has become of it before it is written, and changes
// nothing when that says more or less than was meant. Errors with the file's line are *Errors.
func AddShare(dir string, s Share) error {
	return edit(dir, func(f *file) error {
		if f.find(s.Name) >= 0 {
			return fmt.Errorf("there is a share %q already", s.Name)
		}
		block := []string{"", "[[share]]", "name = " + quote(s.Name), "path = " + quote(s.Path), "comment = " + quote(s.Comment)}
		if len(s.Folder) > 0 {
			block = append(block, "folder = "+quote(strings.Join(s.Folder, "/")))
		}
		if s.Snapshots != "" {
			block = append(block, "snapshots = "+quote(filepath.Join(s.Snapshots, "*", s.SnapshotInside)))
		}
		for _, on := range []struct {
			key            string
			value, without bool
		}{
			{"read_only", s.ReadOnly, false},
			{"encrypt", s.Encrypt, false},
			{"hidden", s.Hidden, false},
			{"hide_unreadable", s.HideUnreadable, false},
			{"short_names", s.ShortNames, false},
			{"continuous", s.Continuous, false},
			{"streams", !s.NoStreams, true},
			{"notify", !s.WithoutNotify, true},
			{"keep_acl_flags", s.KeepACLFlags, false},
			{"posix", s.POSIX, false},
			{"compress", s.Compress, false},
			{"time_machine", s.TimeMachine, false},
		} {
			if on.value != on.without {
				block = append(block, on.key+" = "+strconv.FormatBool(on.value))
			}
		}
		for _, list := range []struct {
			key   string
			texts []string
		}{{"hide_files", s.HideFiles}, {"read", s.read}, {"write", s.write}} {
			if list.texts != nil {
				block = append(block, list.key+" = "+quoted(list.texts))
			}
		}
		f.lines = append(f.lines, block...)
		f.want.Shares = append(f.want.Shares, s)
		return nil
	})
}

// oneLine is a key with a text on one line, and what stands behind it.
var oneLine = regexp.MustCompile(`^(\s*comment\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*')(\s*(?:#.*)?)$`)

// SetShareComment gives the share another comment.
func SetShareComment(dir, name, comment string) error {
	return edit(dir, func(f *file) error {
		i, begin, _, err := f.block(name)
		if err != nil {
			return err
		}
		line := "comment = " + quote(comment)
		if at := f.spots["share."+strconv.Itoa(i)+".comment"].line; at > 0 {
			m := oneLine.FindStringSubmatch(f.lines[at-1])
			if m == nil {
				return &Error{f.path, at, "share.comment", "is written in a form that Postern does not change"}
			}
			f.lines[at-1] = m[1] + quote(comment) + m[3]
		} else {
			f.lines = slices.Insert(f.lines, begin+1, line)
		}
		f.want.Shares[i].Comment = comment
		return nil
	})
}

// RemoveShare takes the share's block out. Comments before it, and after its last line, stay.
func RemoveShare(dir, name string) error {
	return edit(dir, func(f *file) error {
		i, begin, end, err := f.block(name)
		if err != nil {
			return err
		}
		f.lines = slices.Delete(f.lines, begin, end)
		if f.want.Shares = slices.Delete(f.want.Shares, i, i+1); len(f.want.Shares) == 0 {
			f.want.Shares = nil // as of a file without any
		}
		return nil
	})
}

// A file is one that is being changed.
type file struct {
	path  string
	lines []string
	spots map[place]spot
	want  *Config // what it is to say
}

// find returns the number of a share, or -1.
func (f *file) find(name string) int {
	return slices.IndexFunc(f.want.Shares, func(s Share) bool { return fscc.Fold(s.Name) == fscc.Fold(name) })
}

// isBlock matches the places of blocks [[share]], [[network.port]] and [[access.server]].
var isBlock = regexp.MustCompile(`^(share|network\.port|access\.server)\.[0-9]+$`)

// block returns the number of a share and the lines of its block, from its header on to the last line that says
// something.
func (f *file) block(name string) (number, begin, end int, err error) {
	if number = f.find(name); number < 0 {
		return 0, 0, 0, fmt.Errorf("%s has no share %q", f.path, name)
	}
	begin, end, err = f.blockAt("share." + strconv.Itoa(number))
	return number, begin, end, err
}

// blockAt returns the lines of the block [[...]] with a place, as block does.
func (f *file) blockAt(at place) (begin, end int, err error) {
	begin = f.spots[at].line - 1
	if begin < 0 || !strings.HasPrefix(strings.TrimSpace(f.lines[begin]), "[[") {
		name := strings.Join(bare(at), ".")
		return 0, 0, &Error{f.path, begin + 1, name, "is written in a form that Postern does not change"}
	}
	end = len(f.lines)
	for at, s := range f.spots {
		if (s.table || isBlock.MatchString(at)) && s.line-1 > begin {
			end = min(end, s.line-1)
		}
	}
	for end > begin+1 {
		if last := strings.TrimSpace(f.lines[end-1]); last != "" && last[0] != '#' {
			break
		}
		end--
	}
	return begin, end, nil
}

// edit changes the file in dir.
func edit(dir string, change func(*file) error) error {
	// Where the owner has put a link to the file, the file it leads to is changed.
	path, err := filepath.EvalSymlinks(filepath.Join(dir, FileName))
	if err != nil {
		return err
	}
	unlock, err := state.Lock(dir, "config.lock", true)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	doc, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := revise(path, dir, doc, change)
	if err != nil {
		return err
	}
	return state.Write(path, changed, st.Mode().Perm())
}

// revise is a file's text with a change. It is an error if that says more or less than was meant.
func revise(path, dir string, doc []byte, change func(*file) error) ([]byte, error) {
	f := &file{path: path}
	var err error
	if f.want, err = Parse(path, doc, dir); err != nil {
		return nil, err
	}
	f.spots, f.lines = index(doc), strings.Split(strings.TrimSuffix(string(doc), "\n"), "\n")
	if err := change(f); err != nil {
		return nil, err
	}
	changed := []byte(strings.Join(f.lines, "\n") + "\n")
	if !utf8.Valid(changed) { // what was there is: it has been read
		return nil, errText
	}
	if crs := bytes.Count(doc, []byte("\r\n")); crs > 0 && crs == bytes.Count(doc, []byte("\n")) { // an editor's on Windows
		changed = regexp.MustCompile(`\r?\n`).ReplaceAll(changed, []byte("\r\n"))
	}
	got, err := Parse(path, changed, dir)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(got, f.want) {
		return nil, fmt.Errorf("%s: %w", path, errOther)
	}
	return changed, nil
}

var (
	errOther = errors.New("the change would say something else than was meant")
	errText  = errors.New("this is no text: it is not UTF-8")
)
