package images

import _ "embed"

// Number is the number of this release: one more with each, never less. A box that has found a release good installs none
// with a lower one.
const Number = 1

// UpdateKeys are the public keys that all images trust to sign updates, one a line; tools/mkimage adds the key of whoever
// builds. To replace a key, put the new one beside the old, sign some releases with the old one while both are here, and
// endorse the new one in bundles for boxes that missed those.
//
//go:embed update.keys
var UpdateKeys string
