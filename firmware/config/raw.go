package config

import (
	"cmp"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/logon"
)

// raw mirrors the file. Nothing in it has been checked.
type raw struct {
	Version int64    `toml:"version"`
	Name    string   `toml:"name"`
	Names   []string `toml:"names"`

	Compression bool `toml:"compression"`

	QUIC struct {
		Listen       string `toml:"listen"`
		Multichannel bool   `toml:"multichannel"`
		Anonymous    bool   `toml:"anonymous"`
	} `toml:"quic"`
	TCP struct {
		Listen            string `toml:"listen"`
		RequireEncryption bool   `toml:"require_encryption"`
		RequireSigning    bool   `toml:"require_signing"`
		LinuxClients      bool   `toml:"linux_clients"`
		Multichannel      bool   `toml:"multichannel"`
		Anonymous         bool   `toml:"anonymous"`
	} `toml:"tcp"`
	Page struct {
		Listen  string `toml:"listen"`
		Outside bool   `toml:"outside"`
	} `toml:"page"`
	Limits struct {
		MemoryMiB            int64 `toml:"memory_mib"`
		Connections          int64 `toml:"connections"`
		ConnectionsPerClient int64 `toml:"connections_per_client"`
	} `toml:"limits"`
	Log struct {
		Level  string `toml:"level"`
		Format string `toml:"format"`
	} `toml:"log"`
	Certificate struct {
		File string `toml:"file"`
		Key  string `toml:"key"`

		KeyStore string `toml:"key_store"`
	} `toml:"certificate"`
	TPM struct {
		Device string `toml:"device"`
	} `toml:"tpm"`
	Access rawAccess `toml:"access"`
	Logon  struct {
		DelayMS int64  `toml:"failed_delay_ms"`
		NTLM    string `toml:"ntlm"`
	} `toml:"logon"`
	Audit struct {
		FileMiB int64  `toml:"file_mib"`
		Files   int64  `toml:"files"`
		Syslog  string `toml:"syslog"`
		CA      string `toml:"syslog_ca"`
	} `toml:"audit"`
	Network rawNetwork `toml:"network"`
	Time    rawTime    `toml:"time"`
	Panel   rawPanel   `toml:"panel"`
	Storage rawStorage `toml:"storage"`
	Update  rawUpdate  `toml:"update"`
	Share   []rawShare `toml:"share"`
}

type rawAccess struct {
	ClientCertificate string            `toml:"client_certificate"`
	AnyTrusted        bool              `toml:"any_trusted"`
	NamedPipes        string            `toml:"named_pipes"`
	Authorities       []string          `toml:"authorities"`
	Server            []rawAccessServer `toml:"server"`
}

type rawAccessServer struct {
	Name              string `toml:"name"`
	ClientCertificate string `toml:"client_certificate"` // "": as in rawAccess; so are those below
	AnyTrusted        *bool  `toml:"any_trusted"`
	NamedPipes        string `toml:"named_pipes"`
}

type rawShare struct {
	Name     string `toml:"name"`
	Path     string `toml:"path"`
	Folder   string `toml:"folder"`
	Comment  string `toml:"comment"`
	ReadOnly bool   `toml:"read_only"`
	Encrypt  bool   `toml:"encrypt"`
	Hidden   bool   `toml:"hidden"`

	HideUnreadable bool     `toml:"hide_unreadable"`
	HideFiles      []string `toml:"hide_files"`
	ShortNames     bool     `toml:"short_names"`
	Continuous     bool     `toml:"continuous"`
	Streams        *bool    `toml:"streams"` // nil: no such line, and that is true
	Notify         *bool    `toml:"notify"`  // nil: true
	KeepACLFlags   bool     `toml:"keep_acl_flags"`
	Snapshots      string   `toml:"snapshots"`
	POSIX          bool     `toml:"posix"`
	Compress       bool     `toml:"compress"`
	TimeMachine    bool     `toml:"time_machine"`
	MachineQuota   int64    `toml:"time_machine_quota"` // GiB; 0: none

	Read  []string `toml:"read"` // nil: no such line
	Write []string `toml:"write"`

	Link []rawLink `toml:"link"`
}

type rawLink struct {
	Name    string   `toml:"name"`
	Targets []string `toml:"targets"`
}

// builtIn returns the values of keys that the file leaves out.
func builtIn() (r raw) {
	r.Name = "postern.local"
	r.Compression = true
	r.QUIC.Listen = ":443"
	r.TCP.RequireSigning = true
	r.Page.Listen = PageAuto
	r.TCP.Multichannel = true
	r.Limits.MemoryMiB = 128
	r.Limits.Connections = 1024
	r.Limits.ConnectionsPerClient = 128
	r.Access.ClientCertificate = string(access.Paired)
	r.Access.NamedPipes = string(access.PipesPaired)
	r.Logon.DelayMS = 2000
	r.Logon.NTLM = string(logon.NTLMEverybody)
	r.Audit.FileMiB = 1
	r.Audit.Files = 8
	r.Log.Level = "info"
	r.Log.Format = "text"
	r.Certificate.KeyStore = "auto"
	r.TPM.Device = DeviceAuto
	builtInBox(&r)
	r.Update = builtInUpdate()
	return r
}

// find returns the type in raw that key leads to, passing through lists, or as far as it leads: rest is what is
// left of key there.
func find(key toml.Key) (t reflect.Type, rest toml.Key) {
	t = reflect.TypeFor[raw]()
	for len(key) > 0 {
		table := t
		if table.Kind() == reflect.Slice {
			table = table.Elem()
		}
		if table.Kind() != reflect.Struct {
			break
		}
		var next reflect.Type
		for f := range table.Fields() {
			if f.Tag.Get("toml") == key[0] {
				next = f.Type
			}
		}
		if next == nil {
			break
		}
		t, key = next, key[1:]
	}
	return t, key
}

// known lists the keys that could stand where an unknown one does.
func known(key toml.Key) string {
	t, rest := find(key)
	where := key[:len(key)-len(rest)]
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return strings.Join(where, ".") + " has no keys in it"
	}
	var names []string
	for f := range t.Fields() {
		names = append(names, f.Tag.Get("toml"))
	}
	if len(where) == 0 {
		return "known here: " + strings.Join(names, ", ")
	}
	return "known in " + strings.Join(where, ".") + ": " + strings.Join(names, ", ")
}

// kind says what has to stand behind key.
func kind(key toml.Key) string {
	t, rest := find(key)
	if len(rest) > 0 {
		return ""
	}
	switch {
	case t.Kind() == reflect.String:
		return `a text in quotes, as in "text"`
	case t.Kind() == reflect.Int64:
		return "a whole number"
	case t.Kind() == reflect.Bool, t == reflect.TypeFor[*bool]():
		return "true or false"
	case t == reflect.TypeFor[[]string]():
		return `a list of texts, as in ["one", "two"]`
	case t.Kind() == reflect.Slice:
		return "a block that begins with [[" + strings.Join(key, ".") + "]]"
	default:
		return "a block that begins with [" + strings.Join(key, ".") + "]"
	}
}

// place names a value in the file: dotted, with the number of the block for lists of tables, as in "share.1.name".
type place = string

// spot is where a place is.
type spot struct {
	line  int
	table bool // a [header]
}

// index returns the spot of every key and table header in doc, which has to be valid TOML.
func index(doc []byte) map[place]spot {
	spots := make(map[place]spot)
	blocks := make(map[place]int) // how many [[x]] there were
	var p unstable.Parser
	p.Reset(doc)

	// join adds a dotted key to prefix, going into the newest block of a list of tables.
	join := func(prefix place, key unstable.Iterator) (at place, line int) {
		at = prefix
		for key.Next() {
			if line == 0 {
				line = p.Shape(key.Node().Raw).Start.Line
			}
			at = strings.TrimPrefix(at+"."+string(key.Node().Data), ".")
			if n := blocks[at]; n > 0 && !key.IsLast() {
				at += "." + strconv.Itoa(n-1)
			}
		}
		return at, line
	}
	var value func(at place, line int, n *unstable.Node)
	value = func(at place, line int, n *unstable.Node) {
		spots[at] = spot{line: line}
		it := n.Children()
		for i := 0; it.Next(); i++ {
			switch c := it.Node(); {
			case n.Kind == unstable.InlineTable && c.Kind == unstable.KeyValue:
				inner, l := join(at, c.Key())
				value(inner, l, c.Value())
			case n.Kind == unstable.Array && c.Kind == unstable.InlineTable:
				value(at+"."+strconv.Itoa(i), line, c)
			}
		}
	}

	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			at, line := join("", e.Key())
			table, spots[at] = at, spot{line, true}
		case unstable.ArrayTable:
			at, line := join("", e.Key())
			table = at + "." + strconv.Itoa(blocks[at])
			blocks[at]++
			spots[table] = spot{line: line}
		case unstable.KeyValue:
			at, line := join(table, e.Key())
			value(at, line, e.Value())
		}
	}
	return spots
}

var blockNumber = regexp.MustCompile(`\.[0-9]+(\.|$)`)

// outside matches a key that is in no block of the list that it belongs to.
var outside = regexp.MustCompile(`^(share|network\.port)\.[^0-9]`)

// bare returns the key without block numbers.
func bare(at place) toml.Key {
	return strings.Split(strings.TrimSuffix(blockNumber.ReplaceAllString(at, "."), "."), ".")
}

// strangers returns an Error for each key in the file that raw has no place for, in the order of lines. The TOML
// library is no help here: it takes NAME for name, and [share] for [[share]].
func strangers(file string, spots map[place]spot) error {
	var errs []*Error
	for at, s := range spots {
		key := bare(at)
		t, rest := find(key)
		dotted := strings.Join(key, ".")
		switch block := t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct; {
		case len(rest) > 0:
			errs = append(errs, &Error{file, s.line, dotted, "unknown key; " + known(key)})
		case block && s.table:
			errs = append(errs, &Error{file, s.line, dotted, "must be " + kind(key)})
		case outside.MatchString(at):
			list := outside.FindStringSubmatch(at)[1]
			errs = append(errs, &Error{file, s.line, list, "must be " + kind(strings.Split(list, "."))})
		}
	}
	slices.SortFunc(errs, func(a, b *Error) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key)) })
	var all []error
	for i, e := range errs {
		if i > 0 && (e.Key == errs[i-1].Key || strings.HasPrefix(e.Key, errs[i-1].Key+".")) {
			continue // inside of what has been named
		}
		all = append(all, e)
	}
	return errors.Join(all...)
}
