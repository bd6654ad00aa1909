package board_test

import (
	"testing"

	"github.com/postern-nas/postern/board"
)

func TestBays(t *testing.T) {
	w := board.Wiring{Disks: []board.Ports{{Device: "f8000000.pcie", SATA: 2}, {Device: "a40000000.pcie"}}}
	bays := w.Bays()
	if len(bays) != 3 {
		t.Fatalf("%+v", bays)
	}
	for path, want := range map[string]int{
		"platform/f8000000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/ata1/host0/target0:0:0/0:0:0:0/block/sda": 0,
		"platform/f8000000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb": 1,
		"platform/f8000000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/ata3/host1/target1:0:0/1:0:0:0/block/sdc": -1,
		"platform/a40000000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/nvme/nvme0/nvme0n1":                      2,
		"platform/fe800000.usb/xhci-hcd.0.auto/usb1/1-1/ata1":                                                  -1,
		"": -1,
	} {
		for i, b := range bays {
			if b.Has(path) != (i == want) {
				t.Errorf("bay %s: %v of %q", b.Name, b.Has(path), path)
			}
		}
	}
	if (board.Bay{}).Has("platform/x") {
		t.Error("a bay without a port has a disk")
	}
}
