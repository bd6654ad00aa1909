// Package images is what a box boots, as data and as pure functions: how a disk is laid out ([Layout]), which kernel and
// modules a board needs ([Board]), which packages they come from ([Lock]), how they become one bootable file ([UKI]), and
// what a TPM will have measured when it runs ([Measure]).
//
// It touches no disk and no network. The program tools/mkimage puts the pieces together.
package images
