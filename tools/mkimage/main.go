// Command mkimage builds the disk image that an owner flashes (package
// [github.com/postern-nas/postern/tools/mkimage/mkimage]).
//
//	go run ./tools/mkimage -board qemu -out DIR [-compress]
//	go run ./tools/mkimage -board qemu -out DIR -like postern-qemu.json
//	go run ./tools/mkimage -refresh-lock [PACKAGE[/backports] ...]
//
// It writes postern-BOARD.img and postern-BOARD.json, which says what is in it, how large it is and what a TPM will
// have measured, with the keys that it trusts. With -like, and the sources that it was made of, it builds what somebody else has
// published, and says whether it is the same. Packages are kept in a cache outside of the checkout.
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
	refresh := flag.Bool("refresh-lock", false, "write images/packages.lock anew, from the archive as it is; arguments are packages to add")
	board := flag.String("board", "", "`name` of the board: "+boards())
	out := flag.String("out", "", "`folder` for the image")
	compress := flag.Bool("compress", false, "also write the image compressed with zstd")
	updateKey := flag.String("update-key", os.Getenv("POSTERN_UPDATE_KEY"), "`file` of the key that signs updates, instead of your own")
	releaseKey := flag.String("release-key", os.Getenv("POSTERN_RELEASE_KEY"),
		"`file` of the key that approves of images to TPMs, instead of your own; with commas, older ones behind it; none for none")
	like := flag.String("like", "", "`file` that was published beside an image, postern-BOARD.json: build the same, with the keys it names")
	bundle := flag.Bool("bundle", false, "also write the update to this image, signed")
	number := flag.Uint64("number", 0, "`number` of the release instead of the one in package images")
	flavour := flag.String("flavour", "release", "release, or debug: with a shell on the serial console")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *refresh {
		file, err := mkimage.LockFile(ctx)
		if err == nil {
			err = mkimage.Refresh(ctx, file, flag.Args(), os.Stderr)
		}
		exit(err)
	}
	b, ok := images.FindBoard(*board)
	if !ok || *out == "" || flag.NArg() > 0 || *flavour != "release" && *flavour != "debug" {
		fmt.Fprintf(os.Stderr, "mkimage: -board %s -out FOLDER [-flavour release|debug]\n", boards())
		os.Exit(2)
	}
	o := mkimage.Options{Board: b, Out: *out, Compress: *compress, Bundle: *bundle, Number: *number, Debug: *flavour == "debug"}
	var err error
	if *like != "" {
		_, err = mkimage.Rebuild(ctx, o, *like, os.Stderr)
	} else if o.Key, err = mkimage.BuilderKey(*updateKey, *releaseKey); err == nil {
		_, err = mkimage.Build(ctx, o, os.Stderr)
	}
	exit(err)
}

// exit ends the program as it went.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func boards() string {
	var names []string
	for _, b := range images.Boards {
		names = append(names, b.Name)
	}
	return strings.Join(names, "|")
}
