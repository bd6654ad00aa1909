package images

import _ "embed"

// Number is the number of this release: one more with each, never less. A box that has found a release good installs none
// with a lower one.
const Number = 1

// UpdateKeys are the public keys that all images trust to sign updates, one a line; tools/mkimage adds the key of whoever
// builds. The file says how a release is made, and how a key is replaced.
//
//go:embed update.keys
var UpdateKeys string
