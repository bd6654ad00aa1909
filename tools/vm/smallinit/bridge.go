package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Events of /dev/uhid (include/uapi/linux/uhid.h): a type of four bytes, then what belongs to it.
const (
	uhidOutput  = 6
	uhidCreate  = 11
	uhidInput   = 12
	uhidEvent   = 4 + 4372
	uhidData    = 4096
	report      = 64 // bytes, both ways
	busUSB      = 3
	microchip   = 0x04D8
	mcp2221     = 0x00DD
	bridgeWait  = 30 * time.Second
	bridgeLook  = 10 * time.Millisecond
	writeStop   = 0x90 // commands of the MCP2221 (its datasheet DS20005565, chapter 3.1)
	status      = 0x10
	cancel      = 0x10 // in a status
	speed       = 0x20
	bridgeChunk = 60
)

// descriptor says that reports have 64 bytes without a meaning.
var descriptor = []byte{
	0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01,
	0x09, 0x02, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, report, 0x81, 0x02,
	0x09, 0x03, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, report, 0x91, 0x02,
	0xC0,
}

// A bridge is a USB stick with an I2C bus on it, as far as the kernel's driver can tell: Microchip's MCP2221.
type bridge struct {
	f *os.File

	mu   sync.Mutex
	at   byte         // the address of the one chip on it; 0: there is none
	chip func([]byte) // takes a write

	pending []byte // a write that comes in pieces
	refused bool   // the last one was to an address where nothing is
}

// plug makes one, and returns the device file of its bus.
func plug(b *bridge) (string, error) {
	if err := load("hid", "uhid", "industrialio", "hid-mcp2221", "i2c-dev"); err != nil {
		return "", err
	}
	var err error
	if b.f, err = os.OpenFile("/dev/uhid", os.O_RDWR, 0); err != nil {
		return "", err
	}
	e := make([]byte, uhidEvent)
	le := binary.LittleEndian
	le.PutUint32(e, uhidCreate)
	copy(e[4:], "bridge") // 128 bytes, then 64 of a place and 64 of a number
	le.PutUint16(e[260:], uint16(len(descriptor)))
	le.PutUint16(e[262:], busUSB)
	le.PutUint32(e[264:], microchip)
	le.PutUint32(e[268:], mcp2221)
	copy(e[280:], descriptor)
	if _, err := b.f.Write(e); err != nil {
		return "", err
	}
	go b.serve()
	for end := time.Now().Add(bridgeWait); time.Now().Before(end); time.Sleep(bridgeLook) {
		if found, _ := filepath.Glob("/dev/i2c-*"); len(found) > 0 { // the pattern is good
			return found[0], nil
		}
	}
	return "", errors.New("no I2C bus comes of the bridge")
}

// put connects a chip, in place of the one before; none at address 0.
func (b *bridge) put(at byte, chip func([]byte)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at, b.chip = at, chip
}

// serve answers the driver.
func (b *bridge) serve() {
	e := make([]byte, uhidEvent)
	for {
		n, err := b.f.Read(e)
		if err != nil {
			fmt.Println("smallinit: error: the bridge:", err)
			return
		}
		le := binary.LittleEndian
		if n < 4+uhidData+2 || le.Uint32(e) != uhidOutput {
			continue
		}
		size := min(le.Uint16(e[4+uhidData:]), report)
		in := make([]byte, 4+2+report)
		le.PutUint32(in, uhidInput)
		le.PutUint16(in[4:], report)
		b.answer(in[6:], append(make([]byte, 0, report), e[4:4+size]...)[:report])
		if _, err := b.f.Write(in); err != nil {
			fmt.Println("smallinit: error: the bridge:", err)
			return
		}
	}
}

// answer fills the report that answers another.
func (b *bridge) answer(out, in []byte) {
	out[0] = in[0]
	switch in[0] {
	case writeStop:
		total := int(binary.LittleEndian.Uint16(in[1:]))
		b.pending = append(b.pending, in[4:4+min(bridgeChunk, total-len(b.pending))]...)
		if len(b.pending) < total {
			return
		}
		b.mu.Lock()
		b.refused = b.at == 0 || b.at != in[3]>>1
		if !b.refused {
			b.chip(b.pending)
		}
		b.mu.Unlock()
		b.pending = nil
	case status:
		if in[2] == cancel {
			b.refused = false
		}
		if b.refused {
			out[20] = 0x40 // no acknowledgement of the address
		}
		out[3] = in[3] & speed // taken
	}
}
