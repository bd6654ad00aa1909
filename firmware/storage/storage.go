// Package storage finds a box's disks, says how they do, mounts the pools on them, and makes new ones when the owner says
// so, and only then.
//
// A pool is one file system: btrfs on one disk or mirrored over several, or an ext4 or XFS that was there before. It is
// mounted in a folder of its name under Root (/srv), and a share's path begins with that: /srv/data/photos. Without its
// pool that folder is not there, so that nothing is ever written beside it.
//
// Disks may be absent, slow or broken. Whatever touches one has a bound of time; one that does not answer is named, and
// left alone, and everything else goes on.
package storage

import (
	"time"

	"github.com/postern-nas/postern/board"
)

// Root is where pools are mounted.
const Root = "/srv"

// Health is how well a thing is. A larger one is worse.
type Health uint8

// Healths.
const (
	Unknown Health = iota
	Good
	Warning // works, and needs its owner
	Failed
)

// State is the storage as it is. It is shared: nobody changes one that was handed out.
type State struct {
	Disks []Disk // by name
	Pools []Pool // by name
	Job   *Job   // the last formatting since the start; nil: none
}

// A Disk is one disk.
type Disk struct {
	Name      string // the kernel's, as in "sda"; another one after the next start
	ID        string // its own, which stays: serial number or world-wide name. "": it has none
	Model     string
	Bay       string // as printed on the box; "" if the board does not say
	Bytes     int64
	Spins     bool
	Removable bool
	ReadOnly  bool
	System    bool // the box itself is on it: never formatted

	Holds []string // what is on it, in words; empty: nothing
	Pool  string   // UUID of the pool that it belongs to; "" for none

	Health  Health
	Celsius float64 // 0: not measured
	Hours   int64   // of use; 0: not known
	Checked time.Time
	Problem string // one sentence for the owner; "" if all is well
}

// A Pool is one file system.
type Pool struct {
	UUID    string
	Name    string // of its folder under Root
	Kind    string // "btrfs", "ext4" or "xfs"
	Disks   []string
	Missing int    // disks of it that are not there
	Mirror  bool   // every byte is on two disks
	Known   bool   // the owner has said to mount it; others are only listed
	Path    string // where it is mounted; "" if it is not
	Total   int64  // bytes
	Free    int64
	Health  Health
	Problem string // one sentence for the owner; "" if all is well

	copied bool // more disks than it has say that they are of it
}

// A Job is disks being formatted.
type Job struct {
	Pool    string // name
	Step    string // what is done now, in words
	Percent int
	Done    bool
	Error   string // why it failed; "" if it did not
}

// A Config is where things are. Zero fields are the usual.
type Config struct {
	Dir   string      // the state folder: which pools are mounted is kept there
	Bays  []board.Bay // of this board
	Root  string
	Sys   string            // "/sys"
	Dev   string            // "/dev"
	Takes func(string) bool // which block devices count, by name; nil: disks

	// Patience is how long a mirror that lacks a disk waits for it before it is mounted without: half a minute.
	Patience    time.Duration
	CheckEvery  time.Duration // between two looks at health; 0: never
	WarnCelsius float64
}

func (c *Config) fill() {
	for p, v := range map[*string]string{&c.Root: Root, &c.Sys: "/sys", &c.Dev: "/dev"} {
		if *p == "" {
			*p = v
		}
	}
	if c.Takes == nil {
		c.Takes = isDisk
	}
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	if c.WarnCelsius == 0 {
		c.WarnCelsius = 55
	}
}
