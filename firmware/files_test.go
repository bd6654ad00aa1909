package main

import (
	"log/slog"
	"syscall"
	"testing"
)

func TestOpensFor(t *testing.T) {
	for _, c := range []struct {
		descriptors uint64
		connections int
		want        int
	}{
		{0, 1024, fewOpens},
		{1024, 1024, fewOpens},
		{20000, 1024, 9232},
		{1 << 20, 1024, 523520},
		{^uint64(0), 1024, 523520},
		{1 << 20, 65536, 491264},
	} {
		if got := opensFor(c.descriptors, c.connections); got != c.want {
			t.Errorf("%d descriptors, %d connections: %d opens, want %d", c.descriptors, c.connections, got, c.want)
		}
	}
	// Raising never lowers.
	var before, after syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	n := openFiles(16, slog.New(slog.DiscardHandler))
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &after); err != nil {
		t.Fatal(err)
	}
	if after.Cur < before.Cur || after.Max < before.Max || after.Cur != after.Max || n != opensFor(after.Cur, 16) {
		t.Errorf("%+v became %+v: %d opens", before, after, n)
	}
}
