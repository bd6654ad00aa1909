package main

import (
	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/rpc/lsarpc"
	"github.com/postern-nas/postern/smb/rpc/samr"
)

// people tells clients who is behind a SID in a file's permissions, and who there is.
type people struct {
	users   *account.Store
	machine string // name
}

func (p people) Machine() (string, dtyp.SID) { return p.machine, p.users.Machine() }

// Accounts are the users and "None", which they are all members of, as on a Windows machine in no domain.
func (p people) Accounts() []lsarpc.Account {
	list := []lsarpc.Account{{SID: p.users.Machine().Child(513), Name: "None", Kind: lsarpc.KindGroup}}
	for _, u := range p.users.Users() {
		list = append(list, lsarpc.Account{SID: u.SID, Name: u.Name, Kind: lsarpc.KindUser})
	}
	return list
}

// Users are the same users as samr wants them.
func (p people) Users() (list []samr.User) {
	for _, u := range p.users.Users() {
		_, rid := u.SID.Split()
		list = append(list, samr.User{RID: rid, Name: u.Name, Disabled: u.Disabled, Admin: u.Admin})
	}
	return list
}
