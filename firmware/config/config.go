// Package config reads postern.toml: raw structs that mirror the file, and from them a Config in which every value
// has been checked. What is wrong is an error that names file, line and key.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/logon"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/smb"
)

// FileName is the file's name in the state folder.
const FileName = "postern.toml"

// PageAuto is for Config.Page.
const PageAuto = "auto"

// DeviceAuto is the TPM that is there, on a box that runs nothing but Postern.
const DeviceAuto = "auto"

// A Config is a configuration that has been checked. Paths are absolute.
type Config struct {
	Name    string   // DNS name, in lower case
	Names   []string // all DNS names, Name first
	Outside string   // the first of them that the Internet may know; "" for none
	NetBIOS string

	QUIC              string // address and UDP port
	TCP               string // address and TCP port; "" is off
	RequireEncryption bool   // on TCP
	SigningOptional   bool   // on TCP
	LinuxClients      bool   // logons without a MIC
	Compression       bool

	Page        string // address and TCP port of the page; "" is off, PageAuto is for the machine to choose
	PageOutside bool   // the page answers those from outside the local network, too

	QUICSessions, TCPSessions Sessions

	MemoryBudget         int64 // bytes
	Connections          int   // of all clients
	ConnectionsPerClient int

	LogLevel  slog.Level
	LogFormat observe.Format

	CertificateFile, KeyFile string // both or neither

	KeyStore string // auto, sealed, resident or file: keys.ParseWhere
	TPM      string // its device or socket, DeviceAuto, or "" for none
	Access   Access
	Logon    Logon
	Audit    Audit
	Box      Box
	Update   Update

	Shares []Share
}

// Access says who may begin a connection over QUIC.
type Access struct {
	Rule        access.Rule            // of server names that have none of their own
	Servers     map[string]access.Rule // by server name, in lower case
	Authorities []string               // files; beside our own

	blocks []string // the server names, in the order of the file
}

// Of is the rule of a server name.
func (a Access) Of(name string) access.Rule {
	if r, ok := a.Servers[name]; ok {
		return r
	}
	return a.Rule
}

// Logon says how passwords are tried.
type Logon struct {
	FailedDelay time.Duration
	NTLM        logon.NTLM
}

// Audit says how much of the audit log is kept, and where else it goes.
type Audit struct {
	FileSize         int64 // bytes
	Files            int
	Syslog, SyslogCA string // host:port; a file, "" for the system's authorities
}

// Sessions says what else a client may have over one transport.
type Sessions struct {
	Multichannel bool // several connections for one session
	Anonymous    bool // a session without a user
}

// A Share is one folder that is served.
type Share struct {
	Name, Path, Comment       string
	ReadOnly, Encrypt, Hidden bool
	HideUnreadable, NoStreams bool
	Continuous                bool     // clients' open files survive a restart of Postern
	HideFiles                 []string // patterns of names
	ShortNames, WithoutNotify bool
	KeepACLFlags, POSIX       bool
	Compress, TimeMachine     bool
	TimeMachineQuota          int64      // bytes, 0 for none
	Links                     []smb.Link // instead of Path

	// Folder is the folder in Path that is served, by the names that clients see, empty for Path itself. No link leads
	// there, unlike to Path: clients may write where it lies.
	Folder []string

	// Snapshots is the folder that holds previous versions, "" for none, and SnapshotInside where in each of them the
	// share's folder is, "" for the version itself.
	Snapshots, SnapshotInside string

	restricted  bool // only those listed
	read, write []string
}

// Access says what the user named user may do. Names are compared without regard to case, as accounts are.
func (s Share) Access(user string) (read, write bool) {
	listed := func(list []string) bool {
		for _, name := range list {
			if strings.EqualFold(name, user) {
				return true
			}
		}
		return false
	}
	write = !s.restricted || listed(s.write)
	read = write || listed(s.read)
	return read, write && !s.ReadOnly
}

// Users returns the names in the share's lists.
func (s Share) Users() []string { return append(append([]string(nil), s.read...), s.write...) }

// An Error is one mistake in a file.
type Error struct {
	File string
	Line int    // from 1
	Key  string // dotted; "" if the file is no TOML there
	Text string
}

func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Key, e.Text)
}

// Load reads FileName in dir. The mistakes in it are joined *Errors.
func Load(dir string) (*Config, error) {
	path := filepath.Join(dir, FileName)
	doc, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, doc, dir)
}

// Parse reads doc, which is called file in errors and whose paths begin at dir.
func Parse(file string, doc []byte, dir string) (*Config, error) { return parse(file, doc, dir, true) }

// ParseKnown is Parse, but leaves out keys that it does not know: a later version may know them.
func ParseKnown(file string, doc []byte, dir string) (*Config, error) {
	return parse(file, doc, dir, false)
}

func parse(file string, doc []byte, dir string, all bool) (*Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if doc, err = migrate(file, doc, migrations); err != nil {
		return nil, err
	}
	spots := index(doc)
	if err := strangers(file, spots); all && err != nil {
		return nil, err
	}
	r := builtIn()
	dec := toml.NewDecoder(bytes.NewReader(doc))
	if all {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(&r); err != nil {
		return nil, explain(file, err)
	}
	c := checker{file: file, dir: dir, spots: spots}
	cfg := c.config(r)
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return cfg, nil
}

// explain turns what the TOML library says into Errors in our words.
func explain(file string, err error) error {
	var wrong *toml.DecodeError
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		wrong = &unknown.Errors[0] // strangers has missed one
	}
	if wrong != nil || errors.As(err, &wrong) {
		text := strings.TrimPrefix(wrong.Error(), "toml: ")
		if strings.HasPrefix(text, "cannot decode") || strings.HasPrefix(text, "cannot store") {
			if want := kind(wrong.Key()); want != "" {
				text = "must be " + want
			}
		}
		line, _ := wrong.Position()
		return &Error{file, line, strings.Join(wrong.Key(), "."), text}
	}
	return fmt.Errorf("%s: %w", file, err)
}

// A migration turns a file of one version into the next. It works on the text, so that the owner's comments and
// line numbers stay.
type migration func(doc []byte) ([]byte, error)

// migrations[i] leads from version i+1 to i+2.
var migrations = []migration{}

// migrate brings doc to the newest version, in memory: the owner's file is the owner's.
func migrate(file string, doc []byte, steps []migration) ([]byte, error) {
	newest := int64(len(steps) + 1)
	var r struct {
		Version *int64 `toml:"version"`
	}
	if err := toml.Unmarshal(doc, &r); err != nil {
		return nil, explain(file, err)
	}
	line := max(1, index(doc)["version"].line)
	switch {
	case r.Version == nil:
		return nil, &Error{file, line, "version", fmt.Sprintf("missing; this Postern writes version = %d", newest)}
	case *r.Version > newest:
		return nil, &Error{file, line, "version", fmt.Sprintf("%d is from a newer Postern; this one reads up to %d", *r.Version, newest)}
	case *r.Version < 1:
		return nil, &Error{file, line, "version", fmt.Sprintf("must be from 1 to %d", newest)}
	}
	for i, step := range steps[*r.Version-1:] {
		var err error
		if doc, err = step(doc); err != nil {
			return nil, fmt.Errorf("%s: from version %d: %w", file, int(*r.Version)+i, err)
		}
	}
	return doc, nil
}

// folder checks that path is a folder that may be served, and says what is wrong with it. Symbolic links in the
// path itself are followed: it is the owner who wrote it.
func folder(path, stateDir string) string {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(path, Pools+"/"):
		return "" // its disks may come
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s does not exist", path)
	case err != nil:
		return err.Error()
	case !st.IsDir():
		return fmt.Sprintf("%s is not a folder", path)
	}
	// A share around the state folder would hand out keys and users.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err.Error()
	}
	state, err := filepath.EvalSymlinks(stateDir)
	if err != nil {
		return err.Error()
	}
	if rel, err := filepath.Rel(real, state); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return fmt.Sprintf("%s contains Postern's own keys; serve a folder in it or elsewhere", path)
	}
	return ""
}
