// Package fscc holds the structures of [MS-FSCC] that travel inside SMB2 messages: names and how they are matched,
// information classes of files, directories and filesystems, FSCTL bodies, and change notifications.
//
// Every structure has Append, which cannot fail, and Decode, whose error is the nt.Status that Windows answers with:
// nt.InfoLengthMismatch when the bytes are fewer than the fixed part, nt.InvalidParameter (or a more telling one)
// when they contradict themselves. Decode replaces the whole value, also when it fails, and keeps no reference to
// its bytes. Sizes and offsets are in bytes.
package fscc
