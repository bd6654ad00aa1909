// Package keys is where the server's secrets live: the key of its authority, the keys of its certificates, and the key that
// users' passwords are kept under.
//
// With a TPM they are in one file (vault.go), encrypted with a key that the chip gives back to this box only, and only after
// it has booted what it should have. Without one they are files that only the server may read (0600), and State says so;
// they move into the vault as soon as there is a chip. Who has the whole state folder, but not the box, then has nothing.
//
// What binds them, and what that is worth:
//
//   - Release: the chip gives the key back to any system whose measurements (PCR 4, 11 and 12) were approved by the release
//     key. Updates need no sealing anew. A stolen disk is worthless, and so is the box to who starts another system on it.
//   - Boot: exactly the measurements of the system that sealed it. For images that an owner built, where there is no release
//     key. Before another image starts, the running one has to allow it ([Ring.Allow]).
//   - Boot, on a board whose firmware measures nothing: the same, but all that it keeps out is what runs after Postern has
//     measured that it has the keys. Disk theft is protected against; theft of the whole box is not.
//   - Chip: whatever was measured. On a laptop, where other systems share the chip and nobody predicts what they measure.
//
// The owner's recovery code opens the vault without any chip. It is shown once, and never kept. Nothing here ever makes a
// new identity, or a plain file, because a chip did not give a key back: that is told, and waits for the owner.
package keys
