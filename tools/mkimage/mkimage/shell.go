package mkimage

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/u-root/gobusybox/src/pkg/bb"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/uio/ulog"

	"github.com/postern-nas/postern/firmware/boot"
)

// shellCommands are u-root's commands in the debug flavour. go.mod names each as a tool, so that what they are made of
// is pinned.
var shellCommands = []string{
	"cat", "cp", "date", "dd", "df", "dmesg", "free", "gosh", "grep", "head", "hexdump", "ip", "kill", "ls", "lsmod", "mkdir", "mount",
	"mv", "ping", "ps", "rm", "sync", "tail", "umount", "uname",
}

const shellPackages = "github.com/u-root/u-root/cmds/core/"

// addShell adds a shell with a handful of commands to the initramfs: one program, by another name for each of them.
func addShell(ctx context.Context, to contents, parts *[]component) (err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mkimage-shell")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var commands []string
	for _, c := range shellCommands {
		commands = append(commands, shellPackages+c)
	}
	program := filepath.Join(dir, "bb")
	env := golang.Default(golang.WithGOOS("linux"), golang.WithGOARCH("arm64"), golang.DisableCGO(), golang.WithWorkingDir(root), golang.WithMod("readonly"))
	err = bb.BuildBusybox(ulog.Null, &bb.Opts{
		Env: env, GenSrcDir: filepath.Join(dir, "src"), CommandPaths: commands, BinaryPath: program, GoBuildOpts: &golang.BuildOpts{},
	})
	if err != nil {
		return fmt.Errorf("the debug flavour's shell: %w", err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	own := component{name: "debug-shell", kind: "application", purl: "pkg:generic/postern-debug-shell"}
	text, err := licenceFile(root)
	if err != nil {
		return err
	}
	own.text, own.licences = text, licenceKind(text)
	more, err := goModules(ctx, info)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, c := range *parts {
		have[c.name] = true
	}
	*parts = append(*parts, own)
	for _, c := range more {
		if !have[c.name] {
			*parts = append(*parts, c)
		}
	}
	shell := boot.Shell[1:]
	to[filepath.Dir(shell)+"/bb"] = content{data: data, from: own.name}
	for _, c := range shellCommands { // the program goes by the name that it is called by
		to[filepath.Dir(shell)+"/"+c] = content{link: "bb", from: own.name}
	}
	if to[shell].link == "" {
		return fmt.Errorf("the box starts %s, and there is none", boot.Shell)
	}
	return nil
}
