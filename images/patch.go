package images

// A Patch changes one node of a device tree: Debian's trees say nothing of what an owner plugs onto a header. It is what
// an overlay with target-path would do, done once when the image is built.
type Patch struct {
	Node string // path from the root; the last name is made if it is not there
	Set  []Property
}

// A Property is a name with a value: a string, []string, uint32, []uint32, [Phandle], or nil for one that only is there.
type Property struct {
	Name  string
	Value any
}

// A Phandle as a property's value is the number that the node of that path is referred to by. It must have one.
type Phandle string
