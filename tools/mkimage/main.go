// Command mkimage builds the disk image that an owner flashes (package
// [github.com/postern-nas/postern/tools/mkimage/mkimage]).
//
//	go run ./tools/mkimage -board qemu -out DIR [-compress]
//
// It writes postern-BOARD.img and postern-BOARD.json, which says what is in it, how large it is and what a TPM will
// have measured. Packages are kept in a cache outside of the checkout.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
)

func main() {
	board := flag.String("board", "", "`name` of the board: "+boards())
	out := flag.String("out", "", "`folder` for the image")
	compress := flag.Bool("compress", false, "also write the image compressed with zstd")
	flag.Parse()
	b, ok := images.FindBoard(*board)
	if !ok || *out == "" || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "mkimage: -board %s -out FOLDER\n", boards())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := mkimage.Build(ctx, mkimage.Options{Board: b, Out: *out, Compress: *compress}, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func boards() string {
	var names []string
	for _, b := range images.Boards {
		names = append(names, b.Name)
	}
	return strings.Join(names, "|")
}
