package mkimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/postern-nas/postern/images"
)

// A component is one thing that an image is made of, with the licence that it comes under.
type component struct {
	name, version string
	kind          string   // CycloneDX's: firmware, library, application, operating-system
	purl          string   // package URL
	sha256        string   // of the package as it was fetched; "" for what was built here
	goSum         string   // of a Go module, as in go.sum
	licences      []string // names as the component itself gives them
	text          []byte   // of the licence
}

const licencesDir = "licences"

// components lists everything in an image: Debian's packages, our program, the Go modules in it and Go's library.
func components(ctx context.Context, packages []images.Package, files tree, info *debug.BuildInfo) ([]component, error) {
	var all []component
	for _, p := range packages {
		c := component{name: p.Name, version: p.Version, kind: "library", sha256: fmt.Sprintf("%x", p.SHA256)}
		switch {
		case strings.HasPrefix(p.Name, "linux-"):
			c.kind = "operating-system"
		case strings.HasPrefix(p.Name, "u-boot-"), p.Name == "raspi-firmware", p.Name == "systemd-boot-efi":
			c.kind = "firmware"
		}
		// Characters that a package URL may not have as they are (its specification, 5.4 and 5.5).
		escape := strings.NewReplacer("+", "%2B", ":", "%3A", "~", "~")
		c.purl = "pkg:deb/debian/" + escape.Replace(p.Name) + "@" + escape.Replace(p.Version) + "?arch=arm64&distro=trixie"
		var err error
		if c.text, err = copyright(files, p.Name); err != nil {
			return nil, err
		}
		c.licences = licenceNames(c.text)
		all = append(all, c)
	}
	modules, err := goModules(ctx, info)
	return append(all, modules...), err
}

// copyright is the file that every Debian package must have (Debian Policy 12.5). Packages of one source may have the
// folder in common, by a link.
func copyright(files tree, name string) ([]byte, error) {
	dir := "usr/share/doc/" + name
	if e, ok := files[dir]; ok && e.link != "" && !path.IsAbs(e.link) {
		dir = path.Join(path.Dir(dir), e.link)
	}
	text, err := files.read(dir + "/copyright")
	if err != nil {
		return nil, fmt.Errorf("package %s says nothing of its licence: %w", name, err)
	}
	return text, nil
}

// maxLicences bounds how many names of licences one component may give. The kernel's and U-Boot's have some dozens.
const maxLicences = 500

// licenceNames reads the short names of licences in a copyright file (Debian's "Machine-readable debian/copyright file",
// field License). An older file without that form has none.
func licenceNames(text []byte) (names []string) {
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(line, "License:")
		if name = strings.TrimSpace(name); ok && name != "" && !slices.Contains(names, name) && len(names) < maxLicences {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// goModules are our program, what is linked into it, and Go's own library.
func goModules(ctx context.Context, info *debug.BuildInfo) ([]component, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	dirs, err := moduleDirs(ctx, root, info)
	if err != nil {
		return nil, err
	}
	own := component{name: ours, version: info.Main.Version, kind: "application", purl: "pkg:golang/" + info.Main.Path}
	std := component{name: "stdlib", version: info.GoVersion, kind: "library", purl: "pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go")}
	all := []component{own, std}
	places := []string{root, strings.TrimSpace(string(goroot))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, component{
			name: m.Path, version: m.Version, kind: "library", purl: "pkg:golang/" + m.Path + "@" + m.Version, goSum: m.Sum,
		})
		places = append(places, dirs[m.Path])
	}
	for i := range all {
		if all[i].text, err = licenceFile(places[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", all[i].name, err)
		}
		if all[i].licences = licenceKind(all[i].text); all[i].licences == nil {
			return nil, fmt.Errorf("%s: a licence that mkimage does not know; see its LICENSE, and licenceKind", all[i].name)
		}
	}
	return all, nil
}

// moduleDirs asks go where the modules' sources are.
func moduleDirs(ctx context.Context, root string, info *debug.BuildInfo) (map[string]string, error) {
	args := []string{"list", "-m", "-json"}
	for _, m := range info.Deps {
		args = append(args, m.Path)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m: %w", err)
	}
	dirs := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var m struct{ Path, Dir string }
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return dirs, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list -m: %w", err)
		}
		dirs[m.Path] = m.Dir
	}
}

// licenceFile reads the licence in a module's root.
func licenceFile(dir string) ([]byte, error) {
	for _, name := range []string{"LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING", "License", "license"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			return text, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no file LICENSE in %q", dir)
}

// licenceKind recognises the licences that we link under, by words that only they have; it gives SPDX identifiers.
func licenceKind(text []byte) []string {
	t := strings.Join(strings.Fields(string(text)), " ")
	switch {
	case strings.Contains(t, "Apache License") && strings.Contains(t, "Version 2.0"):
		return []string{"Apache-2.0"}
	case strings.Contains(t, "Mozilla Public License") && strings.Contains(t, "2.0"):
		return []string{"MPL-2.0"}
	case strings.Contains(t, "Permission is hereby granted, free of charge"):
		return []string{"MIT"}
	case strings.Contains(t, "Permission to use, copy, modify, and") && strings.Contains(t, "distribute this software for any"):
		return []string{"ISC"}
	case strings.Contains(t, "Redistribution and use in source and binary forms"):
		// The third clause is the one about names.
		if strings.Contains(t, "endorse or promote") {
			return []string{"BSD-3-Clause"}
		}
		return []string{"BSD-2-Clause"}
	}
	return nil
}

// addLicences puts the texts of all licences into the initramfs, with a list of who is under which.
func addLicences(to contents, parts []component, files tree) error {
	var list strings.Builder
	for _, c := range parts {
		names := strings.Join(c.licences, ", ")
		if names == "" {
			names = "see its text"
		}
		fmt.Fprintf(&list, "%s %s: %s\n", c.name, c.version, names)
		to[path.Join(licencesDir, strings.ReplaceAll(c.name, "/", "_")+".txt")] = content{data: c.text, from: c.name}
	}
	to[licencesDir+"/index.txt"] = content{data: []byte(list.String()), from: ours}
	// Debian's texts refer to these by name.
	const common = "usr/share/common-licenses/"
	for name, e := range files {
		if base, ok := strings.CutPrefix(name, common); ok && e.link == "" && !strings.HasPrefix(base, "GFDL") {
			to[path.Join(licencesDir, "common", base)] = content{data: e.data, from: e.from}
		}
	}
	return nil
}
