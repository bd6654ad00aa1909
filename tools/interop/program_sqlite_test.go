package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/embed"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
	"github.com/postern-nas/postern/tools/postern"
)

// SQLite itself on a share: the real library, whose files are opened, read, locked and flushed over SMB, as a program on
// Windows has them done. Each of its connections is a client of its own.

const (
	sqliteName     = "books.sqlite"
	sqliteAccounts = 64
	sqliteMoney    = 1000
	sqliteTellers  = 4
)

// TestProgramSQLite has several clients move money in one database while the server is killed again and again, and
// looks whether what was committed is there, what was not is gone, and SQLite itself finds nothing amiss.
func TestProgramSQLite(t *testing.T) {
	needsPostern(t)
	span, rounds := 700*time.Millisecond, 2
	if *soak {
		span, rounds = 5*time.Second, 20
	}
	eachLink(t, func(t *testing.T, srv *postern.Server, tgt goTarget, l link) {
		b := &books{t: t, srv: srv, tgt: tgt, l: l}
		b.make()
		for range rounds {
			b.run(span)
		}
		b.half()
		b.elsewhere()
	})
}

// books is the database and what has been done to it.
type books struct {
	t   *testing.T
	srv *postern.Server
	tgt goTarget
	l   link

	asked, committed atomic.Int64 // transactions: COMMIT was asked for, was answered
}

var sqliteClients atomic.Int64

// open connects one client.
func (b *books) open() (*sqlite3.Conn, *teller) {
	b.t.Helper()
	c := &teller{Peer: b.tgt.peer(b.t, b.l)}
	name := fmt.Sprintf("smb-%d", sqliteClients.Add(1))
	vfs.Register(name, sqliteVFS{c})
	b.t.Cleanup(func() { vfs.Register(name, nil) })
	db, err := sqlite3.Open("file:" + sqliteName + "?vfs=" + name)
	if err == nil {
		err = db.BusyTimeout(20 * time.Second)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return db, c
}

func (b *books) make() {
	db, c := b.open()
	defer c.Conn.Close()
	defer db.Close()
	err := db.Exec(fmt.Sprintf(`
		PRAGMA page_size = 4096;
		CREATE TABLE accounts (id INTEGER PRIMARY KEY, money INTEGER NOT NULL, note BLOB NOT NULL);
		CREATE TABLE journal (id INTEGER PRIMARY KEY, teller INTEGER NOT NULL);
		WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < %d)
			INSERT INTO accounts SELECT i, %d, randomblob(3000) FROM n;`, sqliteAccounts-1, sqliteMoney))
	if err != nil {
		b.t.Fatal(err)
	}
}

// run has tellers at work for a while, kills the server beneath them, and audits.
func (b *books) run(span time.Duration) {
	pid, before := b.srv.PID(), b.committed.Load()
	var wg sync.WaitGroup
	var conns []io.Closer
	for i := range sqliteTellers {
		db, c := b.open()
		conns = append(conns, c.Conn)
		wg.Go(func() {
			defer db.Close()
			for n := 0; ; n++ {
				if err := b.transfer(db, i, n); err != nil {
					if b.srv.PID() == pid {
						b.t.Errorf("before the server was killed: %v", err)
					}
					return
				}
			}
		})
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); { // on a machine that is slow now, until there is something to show
		time.Sleep(span)
		if b.committed.Load() > before {
			break
		}
	}
	b.restart(conns...)
	wg.Wait()
	b.audit()
	if b.committed.Load() == before {
		b.t.Error("no transaction was committed: the test shows nothing")
	}
}

// transfer is one transaction.
func (b *books) transfer(db *sqlite3.Conn, who, n int) error {
	from, to := (who*17+n*5)%sqliteAccounts, (who*29+n*11+1)%sqliteAccounts
	err := db.Exec(fmt.Sprintf(`BEGIN IMMEDIATE;
		UPDATE accounts SET money = money - 1 WHERE id = %d;
		UPDATE accounts SET money = money + 1, note = randomblob(3000) WHERE id = %d;
		INSERT INTO journal (teller) VALUES (%d);`, from, to, who))
	if err != nil {
		return err
	}
	b.asked.Add(1)
	if err := db.Exec("COMMIT"); err != nil {
		return err
	}
	b.committed.Add(1)
	return nil
}

// restart kills the server, ends the connections, and starts it again.
func (b *books) restart(conns ...io.Closer) {
	b.t.Helper()
	if err := b.srv.Kill(); err != nil {
		b.t.Fatal(err)
	}
	for _, c := range conns {
		c.Close() // over QUIC nobody would hear of it for a while
	}
	if err := b.srv.Start(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// audit reads all there is as a client that has just come.
func (b *books) audit() {
	b.t.Helper()
	hot := b.journal()
	db, c := b.open()
	defer c.Conn.Close()
	defer db.Close()
	b.judge(db)
	count := b.number(db, "SELECT count(*) FROM journal")
	if count < b.committed.Load() || count > b.asked.Load() {
		b.t.Errorf("%d transactions are there; %d were committed, %d asked to be", count, b.committed.Load(), b.asked.Load())
	}
	b.t.Logf("%d transactions; a journal was left behind: %v", count, hot)
	b.committed.Store(count)
	b.asked.Store(count)
}

// judge holds a database against what must always be so.
func (b *books) judge(db *sqlite3.Conn) {
	b.t.Helper()
	if said := b.text(db, "PRAGMA integrity_check"); said != "ok" {
		b.t.Errorf("integrity_check: %s", said)
	}
	if sum := b.number(db, "SELECT sum(money) FROM accounts"); sum != sqliteAccounts*sqliteMoney {
		b.t.Errorf("%d of money, want %d", sum, sqliteAccounts*sqliteMoney)
	}
}

// half kills the server in the middle of a transaction so large that much of it is in the file already, and finds none of
// it when the journal has been played back.
func (b *books) half() {
	db, c := b.open()
	err := db.Exec(`PRAGMA cache_size = 5; BEGIN; UPDATE accounts SET money = -money, note = zeroblob(3000);`)
	if err != nil {
		b.t.Fatal(err)
	}
	if !b.journal() {
		b.t.Error("there is no journal in the middle of a transaction")
	}
	path := filepath.Join(b.tgt.dir, sqliteName)
	torn, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	if n := strings.Count(string(torn), strings.Repeat("\x00", 3000)); n < sqliteAccounts/2 {
		b.t.Errorf("%d of %d changes are in the file; the test wants many there", n, sqliteAccounts)
	}
	b.restart(c.Conn)
	_ = db.Close() // it cannot undo what it has begun
	b.audit()
	if b.journal() {
		b.t.Error("the journal is still there")
	}
}

// elsewhere has SQLite look at the server's own files.
func (b *books) elsewhere() {
	db, err := sqlite3.Open("file:" + filepath.Join(b.tgt.dir, sqliteName) + "?mode=ro")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	b.judge(db)
}

// journal reports whether there is one with something in it.
func (b *books) journal() bool {
	b.t.Helper()
	info, err := os.Stat(filepath.Join(b.tgt.dir, sqliteName+"-journal"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	return err == nil && info.Size() > 0
}

// ask makes a query of one row and one column.
func (b *books) ask(db *sqlite3.Conn, query string, take func(*sqlite3.Stmt)) {
	b.t.Helper()
	stmt, _, err := db.Prepare(query)
	if err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	defer stmt.Close()
	if !stmt.Step() {
		b.t.Fatalf("%s: %v", query, stmt.Err())
	}
	take(stmt)
}

func (b *books) number(db *sqlite3.Conn, query string) (n int64) {
	b.t.Helper()
	b.ask(db, query, func(s *sqlite3.Stmt) { n = s.ColumnInt64(0) })
	return n
}

func (b *books) text(db *sqlite3.Conn, query string) (said string) {
	b.t.Helper()
	b.ask(db, query, func(s *sqlite3.Stmt) { said = s.ColumnText(0) })
	return said
}

// sqliteVFS is SQLite's idea of a file system, https://sqlite.org/c3ref/vfs.html, on one client's share.
type sqliteVFS struct{ c *teller }

func (v sqliteVFS) FullPathname(name string) (string, error) { return name, nil }

func (v sqliteVFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if name == "" { // it is for itself alone
		return &vfsutil.SliceFile{}, flags | vfs.OPEN_MEMORY, nil
	}
	disposition, options := wire.FileOpen, wire.FileNonDirectoryFile
	switch {
	case flags&vfs.OPEN_EXCLUSIVE != 0:
		disposition = wire.FileCreate
	case flags&vfs.OPEN_CREATE != 0:
		disposition = wire.FileOpenIf
	}
	if flags&vfs.OPEN_DELETEONCLOSE != 0 {
		options |= wire.FileDeleteOnClose
	}
	id, err := v.open(name, everything, disposition, options)
	if err != nil {
		return nil, flags, sqlite3.CANTOPEN
	}
	return &sqliteFile{c: v.c, id: id}, flags, nil
}

// open waits for who still has open what was deleted, as SQLite does on Windows.
func (v sqliteVFS) open(name string, access dtyp.Access, disposition, options uint32) (wire.FileID, error) {
	for try := 0; ; try++ {
		var resp wire.CreateResponse
		s, err := v.c.call(wire.CmdCreate, smbtest.OpenAs(name, access, disposition, options), &resp)
		if err != nil {
			return wire.FileID{}, err
		}
		if s == nt.DeletePending && try < 100 {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if s != nt.Success {
			return wire.FileID{}, s
		}
		return resp.FileID, nil
	}
}

func (v sqliteVFS) Delete(name string, _ bool) error {
	id, err := v.open(name, dtyp.Delete, wire.FileOpen, wire.FileNonDirectoryFile|wire.FileDeleteOnClose)
	switch {
	case errors.Is(err, nt.ObjectNameNotFound):
		return sqlite3.IOERR_DELETE_NOENT
	case err != nil || v.c.close(id) != nil:
		return sqlite3.IOERR_DELETE
	}
	return nil
}

func (v sqliteVFS) Access(name string, _ vfs.AccessFlag) (bool, error) {
	id, err := v.open(name, dtyp.ReadAttributes, wire.FileOpen, 0)
	switch {
	case errors.Is(err, nt.ObjectNameNotFound), errors.Is(err, nt.DeletePending):
		return false, nil
	case err != nil || v.c.close(id) != nil:
		return false, sqlite3.IOERR_ACCESS
	}
	return true, nil
}

// A sqliteFile is one open. Its locks are SQLite's, https://sqlite.org/lockingv3.html, on the bytes where SQLite for
// Windows has them.
type sqliteFile struct {
	c    *teller
	id   wire.FileID
	held vfs.LockLevel
	// reserved is whether the reserved byte is locked: to play back a journal SQLite goes from shared to exclusive.
	reserved bool
}

const (
	sqlitePending  = lockByte
	sqliteReserved = lockByte + 1
)

func (f *sqliteFile) Close() error {
	if f.c.close(f.id) != nil {
		return sqlite3.IOERR_CLOSE
	}
	return nil
}

func (f *sqliteFile) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		var resp wire.ReadResponse
		part := uint32(min(len(b)-n, 64<<10))
		s, err := f.c.call(wire.CmdRead, &wire.ReadRequest{FileID: f.id, Offset: uint64(off) + uint64(n), Length: part}, &resp)
		switch {
		case err != nil || s != nt.Success && s != nt.EndOfFile:
			return n, sqlite3.IOERR_READ
		case s == nt.EndOfFile:
			return n, io.EOF
		}
		n += copy(b[n:], resp.Data)
	}
	return n, nil
}

func (f *sqliteFile) WriteAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		part := b[n:min(n+64<<10, len(b))]
		if err := f.c.write(f.id, int(off)+n, part); err != nil {
			return n, sqlite3.IOERR_WRITE
		}
		n += len(part)
	}
	return n, nil
}

func (f *sqliteFile) Truncate(size int64) error {
	err := f.c.must(wire.CmdSetInfo, &wire.SetInfoRequest{
		FileID: f.id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileEndOfFileInformation),
		Buffer: binary.LittleEndian.AppendUint64(nil, uint64(size)),
	}, nil)
	if err != nil {
		return sqlite3.IOERR_TRUNCATE
	}
	return nil
}

func (f *sqliteFile) Sync(vfs.SyncFlag) error {
	if f.c.flush(f.id) != nil {
		return sqlite3.IOERR_FSYNC
	}
	return nil
}

func (f *sqliteFile) Size() (int64, error) {
	var resp wire.QueryInfoResponse
	var info fscc.StandardInfo
	req := &wire.QueryInfoRequest{FileID: f.id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileStandardInformation), OutputBufferLength: 24}
	if f.c.must(wire.CmdQueryInfo, req, &resp) != nil || info.Decode(resp.Buffer) != nil {
		return 0, sqlite3.IOERR_FSTAT
	}
	return info.EndOfFile, nil
}

func (f *sqliteFile) SectorSize() int                                 { return 4096 }
func (f *sqliteFile) DeviceCharacteristics() vfs.DeviceCharacteristic { return 0 }
func (f *sqliteFile) LockState() vfs.LockLevel                        { return f.held }

// try takes a lock, or does not.
func (f *sqliteFile) try(off, n uint64, how uint32) error {
	s, err := f.c.call(wire.CmdLock, &wire.LockRequest{
		FileID: f.id, Locks: []wire.LockElement{{Offset: off, Length: n, Flags: how | wire.LockFailImmediately}},
	}, nil)
	switch {
	case err != nil:
		return sqlite3.IOERR_LOCK
	case s == nt.LockNotGranted:
		return sqlite3.BUSY
	case s != nt.Success:
		return sqlite3.IOERR_LOCK
	}
	return nil
}

func (f *sqliteFile) free(off, n uint64) error {
	if f.c.lock(f.id, off, n, wire.LockUnlock) != nil {
		return sqlite3.IOERR_UNLOCK
	}
	return nil
}

func (f *sqliteFile) Lock(level vfs.LockLevel) error {
	if f.held >= level {
		return nil
	}
	switch level {
	case vfs.LOCK_SHARED: // the pending byte is where writers keep new readers out
		if err := f.try(sqlitePending, 1, wire.LockShared); err != nil {
			return err
		}
		got := f.try(lockShared, sharedSize, wire.LockShared)
		if err := f.free(sqlitePending, 1); err != nil {
			return err
		}
		if got != nil {
			return got
		}
	case vfs.LOCK_RESERVED:
		if err := f.try(sqliteReserved, 1, wire.LockExclusive); err != nil {
			return err
		}
		f.reserved = true
	case vfs.LOCK_EXCLUSIVE:
		if f.held < vfs.LOCK_PENDING {
			if err := f.try(sqlitePending, 1, wire.LockExclusive); err != nil {
				return err
			}
			f.held = vfs.LOCK_PENDING
		}
		if err := f.free(lockShared, sharedSize); err != nil {
			return err
		}
		if err := f.try(lockShared, sharedSize, wire.LockExclusive); err != nil {
			if again := f.try(lockShared, sharedSize, wire.LockShared); again != nil {
				return sqlite3.IOERR_RDLOCK
			}
			return err
		}
	}
	f.held = level
	return nil
}

func (f *sqliteFile) Unlock(level vfs.LockLevel) error {
	was := f.held
	if was <= level {
		return nil
	}
	if was == vfs.LOCK_EXCLUSIVE || level < vfs.LOCK_SHARED {
		if err := f.free(lockShared, sharedSize); err != nil {
			return err
		}
		if level == vfs.LOCK_SHARED {
			if err := f.try(lockShared, sharedSize, wire.LockShared); err != nil {
				return sqlite3.IOERR_RDLOCK
			}
		}
	}
	if was >= vfs.LOCK_PENDING {
		if err := f.free(sqlitePending, 1); err != nil {
			return err
		}
	}
	if f.reserved {
		if err := f.free(sqliteReserved, 1); err != nil {
			return err
		}
		f.reserved = false
	}
	f.held = level
	return nil
}

// CheckReservedLock asks whether somebody is about to write.
func (f *sqliteFile) CheckReservedLock() (bool, error) {
	if f.held >= vfs.LOCK_RESERVED {
		return true, nil
	}
	switch err := f.try(sqliteReserved, 1, wire.LockExclusive); {
	case errors.Is(err, sqlite3.BUSY):
		return true, nil
	case err != nil:
		return false, sqlite3.IOERR_CHECKRESERVEDLOCK
	}
	return false, f.free(sqliteReserved, 1)
}
