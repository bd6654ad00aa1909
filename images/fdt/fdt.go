// Package fdt reads and changes flattened device trees (Devicetree Specification, chapter 5), for what builds images and
// for the tests that hold our wiring against the kernel's trees.
package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/dt"

	"github.com/postern-nas/postern/images"
)

// maxTree bounds a device tree. The largest that we use has 200 KB.
const maxTree = 4 << 20

// Read reads a flattened device tree (Devicetree Specification, chapter 5).
func Read(dtb []byte) (*dt.FDT, error) {
	// The header's second word is the length of all of it.
	if len(dtb) < 8 || len(dtb) > maxTree || int64(binary.BigEndian.Uint32(dtb[4:])) != int64(len(dtb)) {
		return nil, fmt.Errorf("%d bytes are no device tree", len(dtb))
	}
	return dt.ReadFDT(bytes.NewReader(dtb))
}

// Patch returns the tree with the patches done in order.
func Patch(dtb []byte, patches []images.Patch) ([]byte, error) {
	if len(patches) == 0 {
		return dtb, nil
	}
	tree, err := Read(dtb)
	if err != nil {
		return nil, err
	}
	for _, p := range patches {
		if err := apply(p, tree.RootNode); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Node, err)
		}
	}
	var out bytes.Buffer
	if _, err := tree.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func apply(p images.Patch, root *dt.Node) error {
	at := strings.LastIndexByte(p.Node, '/')
	if at < 0 || at == len(p.Node)-1 {
		return fmt.Errorf("no path of a node")
	}
	parent, ok := NodeAt(root, p.Node[:at])
	if !ok {
		return fmt.Errorf("the tree has no node %s", p.Node[:at])
	}
	name := p.Node[at+1:]
	node, ok := parent.LookupChildByName(name)
	if !ok {
		node = dt.NewNode(name)
		parent.Children = append(parent.Children, node)
	}
	for _, s := range p.Set {
		value, err := encode(s, root)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		node.UpdateProperty(s.Name, value)
	}
	return nil
}

func encode(p images.Property, root *dt.Node) ([]byte, error) {
	switch v := p.Value.(type) {
	case nil:
		return nil, nil
	case string:
		return append([]byte(v), 0), nil
	case []string:
		return append([]byte(strings.Join(v, "\x00")), 0), nil
	case uint32:
		return binary.BigEndian.AppendUint32(nil, v), nil
	case []uint32:
		var b []byte
		for _, n := range v {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b, nil
	case images.Phandle:
		node, ok := NodeAt(root, string(v))
		if !ok {
			return nil, fmt.Errorf("the tree has no node %s", v)
		}
		handle, ok := node.LookProperty("phandle")
		if !ok || len(handle.Value) != 4 {
			return nil, fmt.Errorf("%s has no phandle", v)
		}
		return slices.Clone(handle.Value), nil
	}
	return nil, fmt.Errorf("a value of type %T", p.Value)
}

// NodeAt returns the node at a path from root, such as "/soc/i2c@1d000"; "" and "/" are the root.
func NodeAt(root *dt.Node, path string) (*dt.Node, bool) {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		child, ok := root.LookupChildByName(name)
		if !ok {
			return nil, false
		}
		root = child
	}
	return root, true
}

// Enabled says whether the node at a path and all above it are there and not switched off ("status", Devicetree
// Specification 2.3.4).
func Enabled(root *dt.Node, path string) bool {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if !on(root) {
			return false
		}
		if name == "" {
			continue
		}
		child, ok := root.LookupChildByName(name)
		if !ok {
			return false
		}
		root = child
	}
	return on(root)
}

func on(n *dt.Node) bool {
	p, ok := n.LookProperty("status")
	if !ok {
		return true
	}
	s := string(bytes.TrimRight(p.Value, "\x00"))
	return s == "okay" || s == "ok"
}

// Strings returns a property's list of strings; none if the node has no such property.
func Strings(n *dt.Node, property string) []string {
	p, ok := n.LookProperty(property)
	if !ok || len(p.Value) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(p.Value), "\x00"), "\x00")
}

// Compatible returns what all nodes of a tree that are switched on are compatible with, sorted: the names by which
// Linux finds their drivers.
func Compatible(root *dt.Node) []string {
	var all []string
	var walk func(n *dt.Node)
	walk = func(n *dt.Node) {
		if !on(n) {
			return
		}
		all = append(all, Strings(n, "compatible")...)
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(root)
	slices.Sort(all)
	return slices.Compact(all)
}
