// Package bundle is the file that an update comes as, and the feed that says which update there is: both are a document
// that somebody signed, the first with an image behind it.
//
//	offset  bytes
//	     0     16  "Postern bundle\r\n", or "Postern feed  \r\n"
//	    16      4  format, 1; this and all other numbers big-endian
//	    20      4  length of the keys, K
//	    24      4  length of the document, D
//	    28      4  length of the signature, S
//	    32      K  keys: JSON, a list of [Endorsement]; empty if none
//	  32+K      D  document: JSON, a [Manifest] or a [Feed]
//	+D          S  signature over the document, as minisign writes it
//	+S             the image, compressed with zstd; only behind a manifest
//
// Signatures and keys are those of minisign (Ed25519 over BLAKE2b-512). So that none can be taken for one over something
// else, each signed document says in its field "what" what it is.
//
// Nothing is looked at before somebody trusted has signed it: the manifest has the hash of each MiB of the compressed
// image, so even the decompressor sees only bytes that were signed.
package bundle
