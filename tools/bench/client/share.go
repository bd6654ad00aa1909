package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A Share is a TreeConnect.
type Share struct {
	c  *Client
	id uint32
}

// Mount connects to a share.
func (c *Client) Mount(name string) (*Share, error) {
	f, err := c.do(wire.CmdTreeConnect, 0, 0, 0, (&wire.TreeConnectRequest{Path: `\\nas.test\` + name}).Append)
	if err != nil {
		return nil, fmt.Errorf("TREE_CONNECT: %w", err)
	}
	defer f.Release()
	return &Share{c, f.TreeID}, nil
}

// A File is an Open.
type File struct {
	s  *Share
	id wire.FileID
}

// How to open.
type How struct {
	Access      dtyp.Access
	Disposition uint32
	Options     uint32
}

// Ways to open that loads have in common.
var (
	ForReading = How{dtyp.FileRead, wire.FileOpen, wire.FileNonDirectoryFile}
	ForWriting = How{dtyp.FileAll, wire.FileOverwriteIf, wire.FileNonDirectoryFile}
	ForUpdate  = How{dtyp.FileRead | dtyp.FileWrite, wire.FileOpen, wire.FileNonDirectoryFile}
	ForStat    = How{dtyp.ReadAttributes, wire.FileOpen, 0}
	ForRename  = How{dtyp.Delete | dtyp.ReadAttributes, wire.FileOpen, 0}
	ForListing = How{dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile}
	ForDelete  = How{dtyp.Delete, wire.FileOpen, wire.FileDeleteOnClose}
)

// Open opens or makes a file.
func (s *Share) Open(name string, how How) (File, error) {
	req := wire.CreateRequest{
		ImpersonationLevel: wire.ImpersonationImpersonation, DesiredAccess: how.Access, Disposition: how.Disposition, Options: how.Options,
		ShareAccess: wire.ShareRead | wire.ShareWrite | wire.ShareDelete, Name: name,
	}
	f, err := s.c.do(wire.CmdCreate, s.id, 0, 2*len(name), req.Append)
	if err != nil {
		return File{}, fmt.Errorf("CREATE %s: %w", name, err)
	}
	defer f.Release()
	var resp wire.CreateResponse
	if err := resp.Decode(f.Msg); err != nil {
		return File{}, err
	}
	return File{s, resp.FileID}, nil
}

// Close closes the file.
func (f File) Close() error {
	a, err := f.s.c.do(wire.CmdClose, f.s.id, 0, 0, (&wire.CloseRequest{FileID: f.id}).Append)
	if err != nil {
		return fmt.Errorf("CLOSE: %w", err)
	}
	a.Release()
	return nil
}

// Read asks for n bytes at off and throws them away when they are there and proved right. Fewer are an error.
func (f File) Read(off int64, n int) error {
	req := wire.ReadRequest{Length: uint32(n), Offset: uint64(off), FileID: f.id, MinimumCount: uint32(n)}
	a, err := f.s.c.do(wire.CmdRead, f.s.id, n, 0, req.Append)
	if err != nil {
		return fmt.Errorf("READ: %w", err)
	}
	defer a.Release()
	var resp wire.ReadResponse
	if err := resp.Decode(a.Msg); err != nil {
		return err
	}
	if len(resp.Data) != n {
		return fmt.Errorf("READ: %d bytes of %d: %w", len(resp.Data), n, io.ErrUnexpectedEOF)
	}
	return nil
}

// Write writes data at off. The copy of it into the request stands for the one that a client's cache makes.
func (f File) Write(off int64, data []byte) error {
	req := wire.WriteRequest{Offset: uint64(off), FileID: f.id, Data: data}
	a, err := f.s.c.do(wire.CmdWrite, f.s.id, len(data), len(data), req.Append)
	if err != nil {
		return fmt.Errorf("WRITE: %w", err)
	}
	defer a.Release()
	var resp wire.WriteResponse
	if err := resp.Decode(a.Msg); err != nil {
		return err
	}
	if int(resp.Count) != len(data) {
		return fmt.Errorf("WRITE: %d bytes of %d: %w", resp.Count, len(data), io.ErrShortWrite)
	}
	return nil
}

// Rename gives the file another name.
func (f File) Rename(to string) error {
	info := fscc.RenameInfo{Name: to}
	req := wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation), FileID: f.id, Buffer: info.Append(nil)}
	a, err := f.s.c.do(wire.CmdSetInfo, f.s.id, 0, 2*len(to)+64, req.Append)
	if err != nil {
		return fmt.Errorf("SET_INFO: %w", err)
	}
	a.Release()
	return nil
}

// listing is as large a piece of a directory as Windows asks for.
const listing = 1 << 20

// List counts the entries of a directory, by FileIdBothDirectoryInformation as Explorer asks.
func (f File) List() (entries int, err error) {
	req := wire.QueryDirectoryRequest{
		InfoClass: uint8(fscc.FileIdBothDirectoryInformation), FileID: f.id, Pattern: "*", OutputBufferLength: uint32(min(listing, f.s.c.MaxIO)),
	}
	for {
		a, err := f.s.c.do(wire.CmdQueryDirectory, f.s.id, int(req.OutputBufferLength), 16, req.Append)
		if errors.Is(err, nt.NoMoreFiles) {
			return entries, nil
		}
		if err != nil {
			return entries, fmt.Errorf("QUERY_DIRECTORY: %w", err)
		}
		var resp wire.QueryDirectoryResponse
		if err := resp.Decode(a.Msg); err != nil {
			return entries, err
		}
		for rest := resp.Buffer; ; entries++ {
			if len(rest) < 4 {
				return entries, errors.New("QUERY_DIRECTORY: an entry that is cut")
			}
			next := int(binary.LittleEndian.Uint32(rest))
			if next == 0 {
				entries++
				break
			}
			if next > len(rest) {
				return entries, errors.New("QUERY_DIRECTORY: an entry beyond the end")
			}
			rest = rest[next:]
		}
		a.Release()
	}
}
