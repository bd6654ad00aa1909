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
//     key, under a number that is not below that of the release which sealed it. An update needs no sealing anew, and the
//     running system could not let in one that the release key has not approved of. When an update was found good, it seals
//     for itself and what comes after, and then raises the floor. A stolen disk is worthless, and so is the box to who starts
//     another system on it, or an old one of ours.
//   - Boot: exactly the measurements of the system that sealed it. For images without a release key, or whose approval was
//     not there when the keys were sealed. Before another image starts, the running one has to allow it ([Ring.Allow]).
//   - Boot, on a board whose firmware measures nothing: the same, but all that it keeps out is what runs after Postern has
//     measured that it has the keys. Disk theft is protected against; theft of the whole box is not.
//   - Chip: whatever was measured. On a laptop, where other systems share the chip and nobody predicts what they measure.
//
// In both the chip also looks at the version floor: what was sealed before it rose, as in an old copy of the disk, does not
// open any more.
//
// Who measures: the firmware the boot loader, the image and the kernel in it (4), the image's stub its parts (11) and a
// command line in the place of the image's (12, nothing), all before our code runs; then we measure that the keys were given
// out (11). What the image will measure as is calculated when it is built, for each way to boot and each device tree. Nobody
// measures a board's firmware for us: whoever replaces that, measures what they like.
//
// The owner's recovery code opens the vault without any chip. It is shown once, and never kept. Nothing here ever makes a
// new identity, or a plain file, because a chip did not give a key back: that is told, and waits for the owner.
package keys
