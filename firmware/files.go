package main

import (
	"log/slog"
	"syscall"
)

// wantedFiles is how many descriptors the server would like: Linux's own bound for a process unless someone raised it,
// and enough for 100,000 open files several times over.
const wantedFiles = 1 << 20

// fewOpens are let in however few descriptors there are.
const fewOpens = 256

// openFiles raises the process's limit of descriptors as far as it may, and returns how many opens of clients that is
// enough for. An open takes one descriptor; a directory that is being listed, or a link, another. Connections and
// what the server itself needs come first: whoever opens too much must not keep others from connecting.
func openFiles(connections int, log *slog.Logger) int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		log.Warn("the limit of open files cannot be read", "why", err)
		return fewOpens
	}
	raised := syscall.Rlimit{Cur: max(l.Cur, wantedFiles), Max: max(l.Max, wantedFiles)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil { // root may
		l = raised
	} else if raised = (syscall.Rlimit{Cur: l.Max, Max: l.Max}); syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		l = raised
	}
	opens := opensFor(l.Cur, connections)
	log.Debug("limits", "descriptors", l.Cur, "opens", opens)
	return opens
}

// opensFor is the rule of openFiles.
func opensFor(descriptors uint64, connections int) int {
	const ours = 512 // state, logs, listeners, directories looked into
	left := int64(min(descriptors, wantedFiles)) - int64(connections) - ours
	return int(max(left/2, fewOpens))
}
